"""``connect-logging query``: the answers of options are those of the same question in JSON, in every form of output."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from commands import done, on_a_terminal, refused, run, set_variables
from server_process import ServerProcess

from connect_logging import security

EVENTS = [
    {"price": 7.25, "customer": {"country": "AU"}, "vip": True, "timestamp": "2026-03-01T10:00:00Z"},
    {"price": 19.25, "customer": {"country": "DE"}, "vip": False, "timestamp": "2026-03-01T11:00:00Z"},
    {"price": 42.5, "customer": {"country": "AU"}, "vip": False, "timestamp": "2026-03-03T23:30:00Z"},
    {"price": "a lot", "customer": {"country": "\x1b[31mred"}, "timestamp": "2026-03-04T00:30:00Z"},
]
MARCH = ("--start", "2026-03-01", "--end", "2026-03-05")


@pytest.fixture(scope="module", autouse=True)
def purchases(server: ServerProcess) -> None:
    server.push("purchases", *EVENTS)


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, server: ServerProcess) -> None:
    set_variables(monkeypatch, server, "query")
    monkeypatch.setenv("COLUMNS", "80")


def ask(*options: str, answer: str | None = None) -> str:
    return done("query", "purchases", *options, answer=answer)


@pytest.mark.parametrize(
    ("options", "document"),
    [
        ("", {}),
        ("--count", {"select": {"count": "count"}}),
        (
            "--sum price --avg mean=price --min price --max price --median price --percentile 95:price "
            "--percentile slow=99.5:price --distinct customer.country --count",
            {
                "select": {
                    "sum_price": {"sum": "price"},
                    "mean": {"avg": "price"},
                    "min_price": {"min": "price"},
                    "max_price": {"max": "price"},
                    "median_price": {"median": "price"},
                    "p95_price": {"percentile": {"property": "price", "p": 95.0}},
                    "slow": {"percentile": {"property": "price", "p": 99.5}},
                    "distinct_customer.country": {"distinct": "customer.country"},
                    "count": "count",
                }
            },
        ),
        (
            "--count --by customer.country --by vip --where price=gt:5 --order-by count:desc --order-by vip --limit 2",
            {
                "select": {"count": "count"},
                "groupBy": ["customer.country", "vip"],
                "filter": {"price": {"gt": 5}},
                "orderBy": [{"count": "desc"}, "vip"],
                "limit": 2,
            },
        ),
        (
            "--sum price --start 2026-03-01 --interval daily --timezone Australia/Brisbane --non-empty",
            {
                "select": {"sum_price": {"sum": "price"}},
                "timeframe": {"start": "2026-03-01T00:00:00Z"},
                "interval": "daily",
                "nonEmpty": True,
                "timezone": "Australia/Brisbane",
            },
        ),
        ("--timeframe last_3_days", {"timeframe": {"previous": {"days": 3}}}),
        ("--count --order-by count:asc", {"select": {"count": "count"}, "orderBy": [{"count": "asc"}]}),
    ],
)
def test_options_ask_what_the_same_json_asks(server: ServerProcess, options: str, document: dict[str, Any]) -> None:
    assert json.loads(ask(*options.split(), "--show")) == document
    answered = json.loads(ask(*options.split(), "--format", "json"))
    sent = server.request("GET", "/events/purchases", params={"query": json.dumps(document)}).json()
    assert answered == sent
    assert json.loads(ask(json.dumps(document), "-f", "json")) == sent
    assert json.loads(ask("-", "-f", "json", answer=json.dumps(document))) == sent


def test_options_narrow_what_a_document_asks() -> None:
    document = '{"select": {"n": "count"}, "filter": {"vip": true}, "groupBy": "vip"}'
    shown = json.loads(ask(document, "--sum", "price", "--by", "customer.country", "--where", "price=gt:5", "--show"))
    assert shown == {
        "select": {"n": "count", "sum_price": {"sum": "price"}},
        "groupBy": ["vip", "customer.country"],
        "filter": {"vip": True, "price": {"gt": 5}},
    }


def test_columns_come_in_the_order_of_the_command_line() -> None:
    assert ask("--max", "price", "--count", "--format", "csv") == "max_price,count\n42.5,4\n"


def test_a_table_has_no_colours_and_nothing_that_a_terminal_obeys() -> None:
    table = ask("--count", "--avg", "price", "--by", "customer.country", "--by", "vip")
    assert "\x1b" not in table
    assert "│ \\x1b[31mred      │ null  │     1 │      null │" in table
    assert "│ AU               │ true  │     1 │      7.25 │" in table


def test_a_table_has_days_or_minutes_and_says_whose() -> None:
    days = ask("--count", *MARCH, "--interval", "daily", "--timezone", "Australia/Brisbane")
    assert "start (Australia/Brisbane)" in days
    assert "│ 2026-03-04                 │     2 │" in days
    hours = ask("--count", *MARCH, "--interval", "hourly", "--non-empty")
    assert "│ 2026-03-03 23:00 │     1 │" in hours
    odd = ask("--count", "--start", "2026-03-01T10:00:00.5", "--interval", "hourly", "--non-empty")
    assert "2026-03-01 11:00" in odd


def test_the_year_1_has_four_digits(server: ServerProcess) -> None:
    server.push("ages", {"timestamp": "0001-01-01T00:00:00Z"}, {"timestamp": "2026-01-01T00:00:00Z"})
    for zone in ("UTC", "-12"):
        table = done("query", "ages", "--count", "--interval", "yearly", "--non-empty", "--timezone", zone)
        assert "│ 0001-01-01 " in table


def test_a_long_row_is_one_line_where_there_is_no_terminal(server: ServerProcess) -> None:
    server.push("wide", {"text": "x" * 150})
    assert "x" * 150 in done("query", "wide", "--by", "text")


def test_what_does_not_fit_a_terminal_beside_each_other_is_shown_below_each_other() -> None:
    columns = [
        option for name in ("min", "max", "avg", "median") for option in (f"--{name}", f"{name}_{'x' * 12}=price")
    ]
    shown, code = on_a_terminal("query", "purchases", "--by", "customer.country", *columns)
    assert code == 0
    lines = [line.split() for line in shown.decode().splitlines()]
    assert ["customer.country", "AU"] in lines
    assert ["max_xxxxxxxxxxxx", "42.5"] in lines
    shown, _ = on_a_terminal("query", "purchases", "--by", "customer.country", *columns[:2])
    assert "│ AU               │".encode() in shown


def test_to_show_a_query_nobody_need_be_known_who_answers_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONNECT_PROJECT_ID", "CONNECT_API_KEY", "CONNECT_BASE_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # no profile either
    assert json.loads(ask("--count", "--show")) == {"select": {"count": "count"}}
    assert "--project-id" in refused("query", "purchases", "--count")


def test_csv_has_times_numbers_and_texts() -> None:
    options = ("--sum", "price", *MARCH, "--interval", "daily", "--by", "vip")
    rows = [*csv.reader(io.StringIO(ask(*options, "--format", "csv")))]
    assert rows[:3] == [
        ["start", "end", "vip", "sum_price"],
        ["2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00", "false", "19.25"],
        ["2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00", "true", "7.25"],
    ]
    assert rows[-1][2:] == ["", ""]


def test_csv_has_no_text_that_a_spreadsheet_would_calculate(server: ServerProcess) -> None:
    formulas = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "\nx", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201"]
    server.push("formulas", *({"=g": each, "n": -5} for each in [*formulas, "a=b", "", -1]))
    printed = done("query", "formulas", "--by", "=g", "--sum", "=s=n", "--format", "csv")
    head, *rows = csv.reader(io.StringIO(printed, newline=""))
    assert head == ["'=g", "'=s"]
    assert {row[0] for row in rows} == {*(f"'{each}" for each in formulas), "a=b", "", "-1"}
    assert {row[1] for row in rows} == {"-5"}


def test_csv_tells_nothing_from_an_empty_text_as_exports_do(server: ServerProcess) -> None:
    texts = ["", None, 'so "quoted"', "a,b", "one\rtwo", "one\ntwo", " "]
    server.push("texts", *({"text": each, "n": 1} for each in texts))
    printed = done("query", "texts", "--by", "text", "--sum", "n", "--format", "csv")
    assert {*printed.removeprefix("text,sum_n\n").replace("\ntwo", "|two").splitlines(keepends=True)} == {
        '"",1\n',
        ",1\n",
        '"so ""quoted""",1\n',
        '"a,b",1\n',
        '"one\r',
        'two",1\n',
        '"one|two",1\n',
        " ,1\n",
    }
    assert {row[0] for row in csv.reader(io.StringIO(printed, newline=""))} == {"text", "", *filter(None, texts)}
    nothing = done("query", "texts", "--max", "none", "--format", "csv")
    assert nothing == 'max_none\n""\n', "a line that is empty would be no row"


def test_bars_for_groups_and_intervals() -> None:
    drawn = ask("--count", "--sum", "price", "--by", "customer.country", "--format", "bar").splitlines()
    assert drawn[0] == "count"
    assert "sum_price" in drawn
    assert any(each.startswith("AU ") and each.endswith("█ 2") for each in drawn)
    assert max(map(len, drawn)) <= 80
    drawn = ask("--count", *MARCH, "--interval", "daily", "--format", "bar").splitlines()
    assert [each.split()[0] for each in drawn[1:]] == [f"2026-03-0{day}" for day in (1, 2, 3, 4)]


def test_lines_for_intervals_one_for_each_group_and_column() -> None:
    options = ("--count", *MARCH, "--interval", "daily", "--format", "line")
    assert ask(*options).splitlines()[-1].split() == ["2026-03-01", "2026-03-04"]
    drawn = ask(*options, "--by", "customer.country").splitlines()
    assert [each for each in drawn if each.startswith("count")] == ["count  AU", "count  DE", "count  \\x1b[31mred"]
    assert "--interval" in refused("query", "purchases", "--count", "--format", "line")


def test_groups_that_look_alike_have_lines_of_their_own(server: ServerProcess) -> None:
    kinds = [5, "5", True, "true", 1, None, "null", f"{'a' * 300}b", f"{'a' * 300}c"]
    server.push("alike", *({"g": each, "timestamp": "2026-03-01T00:00:00Z"} for each in kinds))
    drawn = done("query", "alike", "--count", "--by", "g", "--interval", "daily", *MARCH, "--format", "line")
    assert drawn.count("count") == len(kinds)


def test_an_hour_that_occurs_twice_has_two_points_of_a_line(server: ServerProcess) -> None:
    times = [f"2026-11-01T0{hour}:30:00Z" for hour in (5, 6, 7)]
    server.push("autumn", *({"n": n, "timestamp": time} for n, time in zip((0, 7, 0), times, strict=True)))
    hours = ("--start", "2026-11-01T05:00Z", "--end", "2026-11-01T08:00Z", "--interval", "hourly")
    lines = [
        done("query", "autumn", "--sum", "n", *hours, "--timezone", zone, "--format", "line").splitlines()[:-1]
        for zone in ("America/New_York", "UTC")
    ]
    assert lines[0] == lines[1]


def test_of_many_charts_the_first_are_drawn(server: ServerProcess) -> None:
    server.push("many", *({"n": n, "timestamp": "2026-03-01T00:00:00Z"} for n in range(12)))
    drawn = done("query", "many", "--by", "n", "--interval", "daily", *MARCH, "--format", "line")
    assert drawn.splitlines()[-1].startswith("… 2 more")


@pytest.mark.parametrize("form", ["table", "bar", "line"])
def test_no_rows_are_told(form: str) -> None:
    options = ("--by", "absent", "--where", "price=gt:1000", "--interval", "daily", *MARCH)
    assert ask(*options, "--format", form) == "no rows\n"


def test_a_collection_that_is_not_there_is_said_so_to_who_may_know(server: ServerProcess) -> None:
    for options in ((), ("--sum", "price", "--by", "country"), ("--interval", "daily", *MARCH)):
        asked = run("query", "absent", *options)
        assert (asked.exit_code, asked.stderr) == (
            0,
            "there is no collection 'absent': 'connect-logging collections' shows those that there are\n",
        )
    filtered = security.seal_filtered_key({"canQuery": True, "filters": {}}, server.keys["master"], server.project_id)
    assert "0" in done("query", "absent", "--api-key", filtered)


def test_names_that_no_query_has_are_told() -> None:
    asked = run("query", "purchases", '{"groupby": "vip", "interval": "daily", "no\\u001b": 1}', "--show")
    assert asked.exit_code == 0
    assert asked.stderr.startswith("ignored in QUERY: 'groupby', 'no\\x1b'; a query has select, filter, groupBy,")
    names = ("select", "filter", "groupBy", "timeframe", "interval", "timezone", "nonEmpty", "orderBy", "limit")
    assert not run("query", "purchases", json.dumps(dict.fromkeys(names)), "--show").stderr


def test_mistakes_are_told_before_anything_is_asked() -> None:
    absent = ("--base-url", "http://127.0.0.1:9")
    for options, error in (
        (("--any-of", "price=gt:true"), "Invalid value for '--any-of': 'price=gt:true': gt takes a string or a number"),
        (("--order-by", "price"), "Error: --order-by: 'price' is no column"),
        (("--by", "a..b"), "Error: --by: a property is"),
        (("--limit", "0"), "Error: --limit: a whole number"),
        (("--sum", "a..b"), "Error: column 'sum_a..b': a property is"),
        (("--timezone", "5"), "Error: --timezone: only with an interval"),
        (("--end", "9999-12-31T23:59-10:00"), "Error: --end: a full ISO-8601 date-time"),
        (('{"groupBy": "a..b"}',), "Error: groupBy: a property is"),
        (("--sum", "a", "--sum", "a"), "a column 'sum_a' already"),
        (("--sum", "a=x", "--avg", "a=y"), "a column 'a' already: give this one a name, as in sales=y"),
        (("--percentile", "price"), "95:price"),
        (("--percentile", "much:price"), "95:price"),
        (("--non-empty",), "--interval"),
        (('{"a"',), "no JSON"),
        (("[]",), "an object"),
        (('{"filter": {"a": 1, "a": 2}}',), "'a' is there twice"),
        (('{"filter": {"price": {"above": 1}}}',), "unknown operator 'above'"),
    ):
        assert error in refused("query", "purchases", *options, *absent)
    assert "collection" in refused("query", "a/b", *absent)
