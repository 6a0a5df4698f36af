"""The document of an answer: which intervals it has, and when it would be too long."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from connect_logging._grammar.zones import EPOCH, MICROSECOND
from connect_logging._terms import MAX_INTERVALS, MAX_RESULT_ROWS
from connect_logging.server.query.answer import TooManyResultsError, answer, check_intervals
from connect_logging.server.query.compiler import Line
from connect_logging.server.query.parser import parse_query

NOW = datetime(2015, 11, 24, 14, 35, tzinfo=UTC).timestamp()
"""A Tuesday."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def intervals(*events: str, **query: Any) -> list[str]:
    """The answer to events at these times, as ``start/end``, with a ``!`` for each row."""
    parsed = parse_query(json.dumps({"interval": "daily", **query}), NOW)
    check_intervals(parsed, NOW)
    assert parsed.calendar is not None
    units = [parsed.calendar.number((at(event) - EPOCH) // MICROSECOND) for event in events]
    document = answer(parsed, [Line(unit, {"n": 1}) for unit in units], NOW)
    found = document["results"]
    assert all(each["results"] in ([], [{"n": 1}], [{"n": 1}] * 2) for each in found)
    return [f"{each['interval']['start']}/{each['interval']['end']}{'!' * len(each['results'])}" for each in found]


def days(*each: int | str) -> list[str]:
    """Days of November 2015, with a ``!`` where there are rows."""
    return [
        f"2015-11-{int(str(day).rstrip('!')):02}T00:00:00Z/2015-11-{int(str(day).rstrip('!')) + 1:02}T00:00:00Z"
        + "!" * str(day).count("!")
        for day in each
    ]


START, END = "2015-11-20T10:00:00Z", "2015-11-22T10:00:00Z"


@pytest.mark.parametrize(
    ("timeframe", "events", "expected"),
    [
        (None, [], []),
        (None, ["2015-11-10"], ["10!"]),
        (None, ["2015-11-10", "2015-11-12"], ["10!", 11, "12!"]),
        (None, ["2015-11-10", "2015-11-10"], ["10!!"]),
        ({"start": START, "end": END}, [], [20, 21, 22]),
        ({"start": START, "end": END}, ["2015-11-21"], [20, "21!", 22]),
        ({"start": START, "end": "2015-11-22T00:00:00Z"}, [], [20, 21]),
        ({"start": START, "end": START}, [], []),
        # Up to now, unless there are events later.
        ({"start": START}, [], [20, 21, 22, 23, 24]),
        ({"start": START, "end": "2015-12-31T00:00:00Z"}, [], [20, 21, 22, 23, 24]),
        ({"start": START}, ["2015-11-26"], [20, 21, 22, 23, 24, 25, "26!"]),
        ("this_week", [], [22, 23, 24]),
        ({"previous": {"days": 2}}, [], [22, 23]),
        ({"start": "2015-11-26T00:00:00Z"}, [], []),
        ({"start": "2015-11-26T00:00:00Z"}, ["2015-11-28"], [26, 27, "28!"]),
        # From the first event.
        ({"end": END}, [], []),
        ({"end": END}, ["2015-11-20"], ["20!", 21, 22]),
        ({"end": "2015-12-31T00:00:00Z"}, ["2015-11-23"], ["23!", 24]),
        ({"end": "2015-12-31T00:00:00Z"}, ["2015-11-23", "2015-11-26"], ["23!", 24, 25, "26!"]),
    ],
)
def test_which_intervals_there_are(timeframe: Any, events: list[str], expected: list[Any]) -> None:
    assert intervals(*events, timeframe=timeframe) == days(*expected)
    full = [each for each in expected if "!" in str(each)]
    assert intervals(*events, timeframe=timeframe, nonEmpty=True) == days(*full)


def test_a_day_that_the_date_line_has_taken_is_none() -> None:
    found = intervals("2011-12-29T12:00:00", "2011-12-30T12:00:00", timezone="Pacific/Apia")
    assert found == ["2011-12-29T10:00:00Z/2011-12-30T10:00:00Z!", "2011-12-30T10:00:00Z/2011-12-31T10:00:00Z!"]


def test_bounds_beyond_the_years_that_can_be_written_are_cut() -> None:
    assert intervals("9999-12-31", interval="yearly") == ["9999-01-01T00:00:00Z/9999-12-31T23:59:59Z!"]
    assert intervals("0001-01-01", timezone=10) == ["0001-01-01T00:00:00Z/0001-01-01T14:00:00Z!"]


def test_metadata_is_what_was_asked() -> None:
    for timezone in ("Australia/Brisbane", 10, -3.5, None):
        query = {"groupBy": ["a.b", "c"], "interval": "Daily", "timezone": timezone}
        found = answer(parse_query(json.dumps(query), NOW), [], NOW)
        assert found["metadata"] == {"groups": ["a.b", "c"], "interval": "daily", "timezone": timezone}


def test_so_many_rows_and_no_more() -> None:
    lines = [Line(0, {})] * MAX_RESULT_ROWS
    assert len(answer(parse_query("{}", NOW), lines, NOW)["results"]) == MAX_RESULT_ROWS
    for query in ("{}", '{"interval":"daily","nonEmpty":true}'):
        with pytest.raises(TooManyResultsError, match="10,000 rows"):
            answer(parse_query(query, NOW), [*lines, Line(0, {})], NOW)


def test_so_many_intervals_and_no_more() -> None:
    minutes = {"interval": "minutely", "timeframe": {"previous": {"minutes": MAX_INTERVALS}}}
    assert len(intervals(**minutes)) == MAX_INTERVALS
    minutes["timeframe"] = {"previous": {"minutes": MAX_INTERVALS + 1}}
    for events in ((), ("2015-11-24",)):
        with pytest.raises(TooManyResultsError, match="10,000, the empty ones included"):
            intervals(*events, **minutes)
    with pytest.raises(TooManyResultsError):
        intervals("2001-01-01", "2015-01-01", interval="hourly")
    assert len(intervals("2001-01-01", "2015-01-01", interval="hourly", nonEmpty=True)) == 2


def test_too_many_intervals_are_known_before_anything_is_read() -> None:
    for query in ({"timeframe": {"start": "0001-01-01T00:00:00Z"}}, {"timeframe": {"previous": {"years": 1900}}}):
        with pytest.raises(TooManyResultsError):
            check_intervals(parse_query(json.dumps({**query, "interval": "daily"}), NOW), NOW)
        check_intervals(parse_query(json.dumps({**query, "interval": "daily", "nonEmpty": True}), NOW), NOW)
        check_intervals(parse_query(json.dumps(query), NOW), NOW)
