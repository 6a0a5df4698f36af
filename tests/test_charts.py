"""Charts: every value in its place, no line too long, whatever the values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from connect_logging._charts import HEIGHT, bars, line

NUMBERS = st.lists(
    st.one_of(st.none(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False)), max_size=50
)


def test_bars_are_as_long_as_their_values() -> None:
    assert [*bars(["AU", "Germany", "none"], [4, 2.25, None], 24)] == [
        "AU      ███████████ 4",
        "Germany ██████▏ 2.25",
        "none",
    ]
    assert [*bars([], [], 24)] == []


def test_negative_bars_go_to_the_left() -> None:
    assert [*bars(["a", "b"], [-5, 5], 15)] == ["a █████ -5", "b      █████ 5"]


def test_long_and_wide_labels_are_cut_to_a_third() -> None:
    first, second = bars(["日本語日本語日本語", "short"], [1, 1], 30)
    assert first.startswith("日本語日 … █")
    assert second.startswith("short      █")


def test_a_line_goes_from_its_first_value_to_its_last() -> None:
    drawn = [*line(["2026-03-01", "2026-03-02", "2026-03-03"], [0, 4, 8], 40)]
    assert len(drawn) == HEIGHT + 2
    assert drawn[0].startswith("8 ┤")
    assert drawn[0].endswith("⣀⠤⠒⠉")
    assert drawn[HEIGHT // 2].startswith("4 ┤")
    assert drawn[HEIGHT - 1].startswith("0 ┤")
    assert drawn[HEIGHT - 1][3] != " "
    assert drawn[-1].split() == ["2026-03-01", "2026-03-03"]


def test_a_gap_is_where_there_is_no_value() -> None:
    whole, gap = ("".join(line(["a"] * 5, values, 40)) for values in ([1, 1, 1, 1, 1], [1, 1, None, 1, 1]))
    braille = [sum(each > "\u2800" and each < "\u2900" for each in text) for text in (whole, gap)]
    assert braille[1] < braille[0]


def test_values_that_are_close_together_have_a_scale_of_their_own() -> None:
    drawn = [*line(["a", "b"], [1_000_000, 1_000_100], 40)]
    assert drawn[0].startswith("1,000,100 ┤")
    assert drawn[HEIGHT - 1].startswith("1,000,000 ┤")


@given(NUMBERS, st.integers(40, 200))
def test_no_chart_is_wider_than_asked_for(values: list[float | None], width: int) -> None:
    labels = [f"label {n}" for n in range(len(values))]
    drawn = [*bars(labels, values, width), *line(labels, values, width)]
    assert all(cell_len(each) <= width for each in drawn)
