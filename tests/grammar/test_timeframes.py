"""Timeframes: which time they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connect_logging._grammar.documents import read_query
from connect_logging._grammar.model import Span
from connect_logging._grammar.zones import EPOCH, MICROSECOND
from connect_logging._terms import RELATIVE_TIMEFRAMES
from connect_logging.exceptions import InvalidQueryError

NOW = datetime(2015, 11, 24, 14, 35, 20, 500_000, tzinfo=UTC).timestamp()
"""A Tuesday."""


def moment(text: str | None) -> int | None:
    return None if text is None else (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // MICROSECOND


def span(**query: Any) -> Span:
    return read_query(query, NOW).span


RELATIVE = [
    ("this_minute", "2015-11-24T14:35", "2015-11-24T14:36"),
    ("last_minute", "2015-11-24T14:34", "2015-11-24T14:35"),
    ("this_hour", "2015-11-24T14:00", "2015-11-24T15:00"),
    ("last_hour", "2015-11-24T13:00", "2015-11-24T14:00"),
    ("today", "2015-11-24", "2015-11-25"),
    ("yesterday", "2015-11-23", "2015-11-24"),
    ("this_week", "2015-11-22", "2015-11-29"),
    ("last_week", "2015-11-15", "2015-11-22"),
    ("this_month", "2015-11-01", "2015-12-01"),
    ("last_month", "2015-10-01", "2015-11-01"),
    ("this_quarter", "2015-10-01", "2016-01-01"),
    ("last_quarter", "2015-07-01", "2015-10-01"),
    ("this_year", "2015-01-01", "2016-01-01"),
    ("last_year", "2014-01-01", "2015-01-01"),
]


def test_all_relative_timeframes_are_tested() -> None:
    assert [name for name, *_ in RELATIVE] == list(RELATIVE_TIMEFRAMES)


@pytest.mark.parametrize(
    ("timeframe", "start", "end"),
    [
        *RELATIVE,
        ("Today", "2015-11-24", "2015-11-25"),
        ({"current": {"days": 1}}, "2015-11-24", "2015-11-25"),
        ({"current": {"days": 3}}, "2015-11-22", "2015-11-25"),
        ({"previous": {"days": 3}}, "2015-11-21", "2015-11-24"),
        ({"previous": {"Hours": 15}}, "2015-11-23T23:00", "2015-11-24T14:00"),
        ({"current": {"minutes": 36}}, "2015-11-24T14:00", "2015-11-24T14:36"),
        ({"previous": {"weeks": 1}}, "2015-11-15", "2015-11-22"),
        ({"current": {"months": 12}}, "2014-12-01", "2015-12-01"),
        ({"previous": {"quarters": 4}}, "2014-10-01", "2015-10-01"),
        ({"previous": {"years": 1900}}, "0115-01-01", "2015-01-01"),
        ({"previous": {"days": 2.0}}, "2015-11-22", "2015-11-24"),
        ({"start": "2015-11-02T00:00:00Z", "end": "2015-11-01T00:00:00Z"}, "2015-11-02", "2015-11-01"),
        (
            {"start": "2015-11-01T10:30:00Z", "end": "2015-11-02T00:00:00.25Z"},
            "2015-11-01T10:30",
            "2015-11-02T00:00:00.250",
        ),
        ({"start": "2015-11-01T10:30:00+10:00"}, "2015-11-01T00:30", None),
        ({"end": "2015-11-01T10:30:00"}, None, "2015-11-01T10:30"),
        ({"start": "2015-11-01T10:30:00.1234567Z", "end": None}, "2015-11-01T10:30:00.123456", None),
        ({"start": "2015-11-01T00:00:00Z", "end": "2015-11-01T00:00:00Z"}, "2015-11-01", "2015-11-01"),
        ({}, None, None),
        (None, None, None),
    ],
)
def test_timeframes_in_utc(timeframe: Any, start: str | None, end: str | None) -> None:
    assert span(timeframe=timeframe) == Span(moment(start), moment(end))


@pytest.mark.parametrize(
    ("timeframe", "timezone", "start", "end"),
    [
        ("today", 10, "2015-11-24T14:00", "2015-11-25T14:00"),
        ("today", "Australia/Brisbane", "2015-11-24T14:00", "2015-11-25T14:00"),
        ("today", 9.25, "2015-11-23T14:45", "2015-11-24T14:45"),
        ("this_hour", 5.75, "2015-11-24T14:15", "2015-11-24T15:15"),
        ("this_month", "America/New_York", "2015-11-01T04:00", "2015-12-01T05:00"),
        ({"previous": {"months": 1}}, "Europe/Berlin", "2015-09-30T22:00", "2015-10-31T23:00"),
        ({"current": {"quarters": 1}}, 0, "2015-10-01", "2016-01-01"),
    ],
)
def test_relative_timeframes_follow_the_zone(timeframe: Any, timezone: Any, start: str, end: str) -> None:
    assert span(timeframe=timeframe, timezone=timezone) == Span(moment(start), moment(end))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"timeframe": "tomorrow"}, "timeframe"),
        ({"timeframe": 1}, "timeframe"),
        ({"timeframe": []}, "timeframe"),
        ({"timeframe": {"next": {"days": 1}}}, "timeframe"),
        ({"timeframe": {"start": "2015-01-01T00:00:00Z", "days": 1}}, "timeframe"),
        ({"timeframe": {"current": {"days": 1}, "previous": {"days": 1}}}, "timeframe"),
        ({"timeframe": {"current": {"days": 1, "weeks": 1}}}, "timeframe.current"),
        ({"timeframe": {"current": {"decades": 1}}}, "timeframe.current"),
        ({"timeframe": {"current": {}}}, "timeframe.current"),
        ({"timeframe": {"current": 3}}, "timeframe.current"),
        ({"timeframe": {"previous": {"days": 0}}}, "timeframe.previous"),
        ({"timeframe": {"previous": {"days": 1.5}}}, "timeframe.previous"),
        ({"timeframe": {"previous": {"days": True}}}, "timeframe.previous"),
        ({"timeframe": {"previous": {"years": 1901}}}, "timeframe.previous"),
        ({"timeframe": {"previous": {"minutes": 10**30}}}, "timeframe.previous"),
        ({"timeframe": {"start": "2015-01-01"}}, "timeframe.start"),
        ({"timeframe": {"start": 1420070400}}, "timeframe.start"),
        ({"timeframe": {"end": "2015-02-30T00:00:00Z"}}, "timeframe.end"),
        ({"timeframe": {"end": "9999-12-31T23:00:00-05:00"}}, "timeframe.end"),
        ({"timeframe": "today", "timezone": "Japan/Tokyo"}, "timezone"),
        ({"timeframe": "today", "timezone": 15}, "timezone"),
        ({"timezone": 10}, "timezone"),
        ({"timeframe": {}, "timezone": 10}, "timezone"),
        ({"timeframe": {"start": "2015-01-02T00:00:00Z"}, "timezone": 10}, "timezone"),
    ],
)
def test_what_is_no_timeframe_or_zone(query: Any, field: str) -> None:
    with pytest.raises(InvalidQueryError) as caught:
        span(**query)
    assert list(caught.value.errors) == [field]
