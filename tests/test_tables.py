"""Rows to look at, on a terminal and in a notebook."""

from __future__ import annotations

from datetime import UTC, datetime

from connect_logging._tables import MAX_ROWS, MAX_WIDTH, html_table, text_table

ROWS = [{"country": "AU", "n": 10}, {"country": None, "n": 2.5}]


def test_columns_are_aligned_numbers_to_the_right() -> None:
    assert text_table(("country", "n"), ROWS).splitlines() == ["country    n", "AU        10", "None     2.5"]


def test_a_table_of_no_rows_has_its_columns() -> None:
    assert text_table(("country", "n"), []) == "country  n"
    assert html_table(("n",), []) == "<table><thead><tr><th>n</th></tr></thead><tbody></tbody></table>"
    assert text_table((), []) == ""


def test_a_long_table_says_what_is_left_out() -> None:
    rows = [{"n": n} for n in range(MAX_ROWS + 1_000)]
    assert text_table(("n",), rows).splitlines()[-1] == "… 1,000 more rows"
    assert len(text_table(("n",), rows).splitlines()) == MAX_ROWS + 2
    assert html_table(("n",), rows).count("<tr>") == MAX_ROWS + 1
    assert "<caption>… 1,000 more rows</caption>" in html_table(("n",), rows)


def test_values_are_shown_in_short() -> None:
    line = text_table(("text", "at"), [{"text": "x" * 100, "at": datetime(2026, 1, 2, 3, tzinfo=UTC)}]).splitlines()[1]
    assert line == f"{'x' * (MAX_WIDTH - 1)}…  2026-01-02 03:00:00+00:00"


def test_what_a_terminal_would_obey_is_text() -> None:
    shown = text_table(("a\x1b[2J",), [{"a\x1b[2J": "\x1b]0;title\x07\n"}])
    assert shown.splitlines() == [r"a\x1b[2J", r"\x1b]0;title\x07\n"]


def test_what_a_browser_would_obey_is_text() -> None:
    name = "<b>&"
    assert html_table((name,), [{name: '<script>alert("1")</script>'}]) == (
        "<table><thead><tr><th>&lt;b&gt;&amp;</th></tr></thead>"
        "<tbody><tr><td>&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;</td></tr></tbody></table>"
    )
