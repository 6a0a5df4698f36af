"""Responses show an event as it was sent, and cannot be changed; answers are rows, tables and something to look at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.pretty import pretty_repr

from connect_logging.event import Event
from connect_logging.responses import PushBatchResponse, PushResponse, QueryResponse

RESPONSE = PushResponse(True, None, 200, Event("purchases", b'{"id":"1","price":34.95}'))


def test_the_event_is_a_new_dict_each_time() -> None:
    RESPONSE.event["price"] = 0
    assert RESPONSE.event == {"id": "1", "price": 34.95}


def test_the_repr_leaves_the_event_out() -> None:
    """It may be 64 kB, and its content is nobody's business in a log."""
    assert repr(RESPONSE) == "PushResponse(success=True, error_message=None, http_status_code=200)"
    assert pretty_repr(RESPONSE).split() == repr(RESPONSE).split()


@pytest.mark.parametrize("response", [RESPONSE, PushBatchResponse(True, None, 200, {"purchases": [RESPONSE]})])
def test_responses_are_frozen(response: PushResponse | PushBatchResponse) -> None:
    with pytest.raises(AttributeError):
        response.success = False  # type: ignore[misc]


def answer(results: list[Any], interval: str | None = None, zone: Any = None, groups: Any = ("country",)) -> Any:
    return QueryResponse({"groups": [*groups], "interval": interval, "timezone": zone}, results, SELECT)


SELECT = {"n": "count", "revenue": {"sum": "price"}}
ROWS = [{"country": "AU", "n": 2, "revenue": 7.5}, {"country": None, "n": 1, "revenue": None}]
DAYS = [
    {"interval": {"start": "2026-01-01T14:00:00Z", "end": "2026-01-02T14:00:00Z"}, "results": ROWS},
    {"interval": {"start": "2026-01-02T14:00:00Z", "end": "2026-01-03T14:00:00Z"}, "results": []},
    {"interval": {"start": "2026-01-03T14:00:00Z", "end": "2026-01-04T14:00:00Z"}, "results": ROWS[:1]},
]


@pytest.mark.parametrize("zone", ["Australia/Brisbane", "America/New_York", 14, -12])
def test_bounds_at_the_ends_of_the_calendar_are_told_in_any_zone(zone: str | int) -> None:
    """An event of the year 1 is what a .NET program sends that has set no date."""
    bounds = [("0001-01-01T00:00:00Z", "0001-01-01T12:00:00Z"), ("9999-12-31T12:00:00Z", "9999-12-31T23:59:59Z")]
    response = answer([{"interval": {"start": a, "end": b}, "results": ROWS} for a, b in bounds], "daily", zone)
    told = [(row["start"], row["end"]) for row in response if row["country"]]
    assert told == [tuple(map(datetime.fromisoformat, each)) for each in bounds]
    assert len(response.to_arrow()) == len(response)


def test_an_answer_is_a_sequence_of_rows() -> None:
    response = answer(ROWS)
    assert response.metadata == {"groups": ["country"], "interval": None, "timezone": None}
    assert response.results is ROWS
    assert response.columns == ("country", "n", "revenue")
    assert ([*response], len(response), response[1]["n"]) == (ROWS, 2, 1)
    response[0]["n"] = 0
    assert ROWS[0]["n"] == 2, "what the server sent stays as it was"


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (None, UTC),
        ("UTC", ZoneInfo("UTC")),
        ("Australia/Brisbane", ZoneInfo("Australia/Brisbane")),
        (10, timezone(timedelta(hours=10))),
        (-9.5, timezone(timedelta(hours=-9.5))),
        (0, UTC),
        ("Nowhere/Else", UTC),
        ("../zones", UTC),
        ("Australia", UTC),
    ],
)
def test_rows_of_an_interval_begin_with_its_bounds_in_the_zone_of_the_query(zone: Any, expected: tzinfo) -> None:
    response = answer(DAYS, "daily", zone)
    assert response.columns == ("start", "end", "country", "n", "revenue")
    assert [row["country"] for row in response] == ["AU", None, "AU"]
    assert response[2] == {
        "start": datetime(2026, 1, 3, 14, tzinfo=UTC),
        "end": datetime(2026, 1, 4, 14, tzinfo=UTC),
        **ROWS[0],
    }
    assert all(row[bound].tzinfo == expected for row in response for bound in ("start", "end"))
    assert response.results is DAYS


def test_an_interval_without_events_has_a_row_where_there_are_no_groups() -> None:
    rows = [*answer(DAYS, "daily", groups=[])]
    assert len(rows) == 4
    assert rows[2] == {
        "start": datetime(2026, 1, 2, 14, tzinfo=UTC),
        "end": datetime(2026, 1, 3, 14, tzinfo=UTC),
        "n": 0,
        "revenue": None,
    }
    assert len(answer(DAYS, "daily")) == 3


def test_bounds_give_way_to_columns_of_their_names() -> None:
    response = answer(DAYS, "daily", groups=["start", "interval.start"])
    assert response.columns[:4] == ("interval.interval.start", "end", "start", "interval.start")


def test_an_answer_without_rows_has_the_columns_of_its_query() -> None:
    assert answer([]).columns == ("country", "n", "revenue")
    assert QueryResponse({"groups": [], "interval": None, "timezone": None}, [], {}).columns == ("_count",)


def test_an_answer_shows_itself() -> None:
    assert repr(answer(ROWS)).splitlines() == [
        "QueryResponse, 2 rows",
        "country  n  revenue",
        "AU       2      7.5",
        "None     1     None",
    ]
    assert answer(ROWS)._repr_html_().startswith("<table><thead><tr><th>country</th>")


def test_an_answer_becomes_a_table_of_typed_columns() -> None:
    table = answer(DAYS, "daily", "Australia/Brisbane").to_arrow()
    assert [str(field.type) for field in table.schema] == [
        "timestamp[us, tz=Australia/Brisbane]",
        "timestamp[us, tz=Australia/Brisbane]",
        "string",
        "int64",
        "double",
    ]
    assert answer(ROWS).to_pandas().shape == answer(ROWS).to_polars().shape == (2, 3)
    select = {"a": "Count", "b": {"Distinct": "x"}, "c": {"percentile": {"property": "x", "p": 5}}}
    types = QueryResponse({"groups": [], "interval": None, "timezone": None}, [], select).to_arrow().schema.types
    assert [*map(str, types)] == ["int64", "int64", "double"]
