"""Units of the calendar, against Python's own reading of local time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connect_logging._grammar.calendars import Calendar
from connect_logging._grammar.zones import EPOCH, MICROSECOND, read_zone
from connect_logging._terms import Unit

UNITS: list[Unit] = ["minute", "hour", "day", "week", "month", "quarter", "year"]
ZONES: list[str | float] = [
    "UTC",
    5.75,
    -3.5,
    "Europe/Berlin",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Apia",
]
ZONES += ["America/Sao_Paulo", "Asia/Kathmandu", "Africa/Casablanca"]
MOMENTS = st.integers(-(2**50), 2**52) | st.datetimes(datetime(2005, 1, 1), datetime(2016, 1, 1)).map(
    lambda moment: (moment.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
)

RULES_END = (datetime(2099, 12, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
"""Python applies a zone's rules for ever; ours are applied up to 2099, and then the last offset stays."""


def at(text: str) -> int:
    return (datetime.fromisoformat(text).astimezone(UTC) - EPOCH) // MICROSECOND


def calendar(unit: Unit, name: str | float) -> Calendar:
    zone = read_zone(name)
    assert zone is not None
    return Calendar(unit, zone)


def bounds(unit: Unit, name: str | float, text: str) -> tuple[str, str]:
    """The unit that a moment is in, as its first moment and the next one's."""
    units = calendar(unit, name)
    unit_there = units.number(at(text))
    start, end = units.start(unit_there), units.start(unit_there + 1)
    return tuple((EPOCH + timedelta(microseconds=each)).strftime("%Y-%m-%dT%H:%M") for each in (start, end))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("unit", "zone", "moment", "start", "end"),
    [
        ("minute", "UTC", "1969-12-31T23:59:59Z", "1969-12-31T23:59", "1970-01-01T00:00"),
        ("hour", 5.75, "2015-06-01T10:20:00Z", "2015-06-01T10:15", "2015-06-01T11:15"),
        ("day", 10, "2015-06-01T13:59:59Z", "2015-05-31T14:00", "2015-06-01T14:00"),
        ("week", "UTC", "2015-11-24T14:00:00Z", "2015-11-22T00:00", "2015-11-29T00:00"),
        ("week", "UTC", "2015-11-22T00:00:00Z", "2015-11-22T00:00", "2015-11-29T00:00"),
        ("month", "UTC", "2016-02-29T12:00:00Z", "2016-02-01T00:00", "2016-03-01T00:00"),
        ("quarter", "UTC", "2015-12-31T12:00:00Z", "2015-10-01T00:00", "2016-01-01T00:00"),
        ("year", "Australia/Brisbane", "2015-12-31T14:00:00Z", "2015-12-31T14:00", "2016-12-31T14:00"),
        # Days of 23 and of 25 hours, and the hour that occurs twice.
        ("day", "Europe/Berlin", "2015-03-29T12:00:00Z", "2015-03-28T23:00", "2015-03-29T22:00"),
        ("day", "Europe/Berlin", "2015-10-25T12:00:00Z", "2015-10-24T22:00", "2015-10-25T23:00"),
        ("hour", "Europe/Berlin", "2015-10-25T02:30:00+02:00", "2015-10-25T00:00", "2015-10-25T01:00"),
        ("hour", "Europe/Berlin", "2015-10-25T02:30:00+01:00", "2015-10-25T01:00", "2015-10-25T02:00"),
        # Clocks that change by half an hour: there and back, 1:30 to 2:00 occurs twice.
        ("hour", "Australia/Lord_Howe", "2015-10-04T01:59:00+10:30", "2015-10-03T14:30", "2015-10-03T15:30"),
        ("hour", "Australia/Lord_Howe", "2015-10-04T02:31:00+11:00", "2015-10-03T15:30", "2015-10-03T16:00"),
        ("hour", "Australia/Lord_Howe", "2015-04-05T01:59:00+11:00", "2015-04-04T14:00", "2015-04-04T15:00"),
        ("hour", "Australia/Lord_Howe", "2015-04-05T01:31:00+10:30", "2015-04-04T15:00", "2015-04-04T15:30"),
        ("hour", "Australia/Lord_Howe", "2015-04-05T02:31:00+10:30", "2015-04-04T15:30", "2015-04-04T16:30"),
        # Midnight does not exist; occurs twice, the second time a minute after the day has begun.
        ("day", "America/Sao_Paulo", "2015-10-18T12:00:00Z", "2015-10-18T03:00", "2015-10-19T02:00"),
        ("day", "America/St_Johns", "2006-10-29T00:00:30-02:30", "2006-10-29T02:30", "2006-10-30T03:30"),
        ("day", "America/St_Johns", "2006-10-28T23:30:00-03:30", "2006-10-29T02:30", "2006-10-30T03:30"),
        # The day after 29 December 2011 was the 31st.
        ("day", "Pacific/Apia", "2011-12-30T09:59:00Z", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("day", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00", "2011-12-31T10:00"),
        ("year", "UTC", "0001-06-01T00:00:00Z", "0001-01-01T00:00", "0002-01-01T00:00"),
    ],
)
def test_bounds(unit: Unit, zone: str | float, moment: str, start: str, end: str) -> None:
    expected = start.lstrip("0"), end.lstrip("0")
    if zone == "Pacific/Apia" and moment.startswith("2011-12-30T09"):
        expected = start, start.replace("29", "30")  # the 30th begins and ends there
    assert tuple(each.lstrip("0") for each in bounds(unit, zone, moment)) == expected


@given(st.sampled_from(UNITS), st.sampled_from(ZONES), MOMENTS)
@example("day", "America/St_Johns", (1162089090 + 60) * 10**6)
def test_units_follow_each_other_and_hold_what_they_are_found_by(unit: Unit, zone: str | float, moment: int) -> None:
    units = calendar(unit, zone)
    there = units.number(moment)
    start, end = units.start(there), units.start(there + 1)
    assert start <= moment < end
    assert units.number(start) == units.number(end - 1) == there
    assert units.number(start - 1) < there < units.number(end)


@given(st.sampled_from(UNITS[2:]), st.sampled_from(ZONES[3:]), MOMENTS.filter(lambda moment: moment < RULES_END))
def test_a_day_or_more_is_what_the_calendar_on_the_wall_says_at_its_end(unit: Unit, zone: str, moment: int) -> None:
    units = calendar(unit, zone)
    end = units.start(units.number(moment) + 1)
    wall = (EPOCH + timedelta(microseconds=end)).astimezone(ZoneInfo(zone))
    assert wall.hour in (0, 1), "1 where the clocks are put forward at midnight"
    assert unit in ("day", "week") or wall.day == 1
    assert unit != "quarter" or wall.month in (1, 4, 7, 10)
    assert unit != "week" or wall.strftime("%A") == "Sunday"


def test_after_2099_the_last_offset_stays() -> None:
    """Summer time on Lord Howe, half an hour, is in force at the border; the day that ends it has 24 hours then."""
    days = calendar("day", "Australia/Lord_Howe")
    there = days.number(at("2112-04-03T00:00:00+11:00"))
    assert days.start(there + 1) == at("2112-04-04T00:00:00+11:00")
    before = days.number(at("2050-04-03T00:00:00+11:00"))
    assert days.start(before + 1) == at("2050-04-04T00:00:00+10:30")


def test_units_go_on_beyond_the_years_that_python_knows() -> None:
    years = calendar("year", "UTC")
    last = years.number(at("9999-12-31T23:59:59Z"))
    assert last == 9999
    assert years.start(last + 1) == at("9999-12-31T23:59:59Z") + 1_000_000
    assert years.number(years.start(20_000)) == 20_000
    assert calendar("month", 14).number(at("9999-12-31T23:59:59Z")) == 120_000
    assert calendar("month", -14).number(at("0001-01-01T00:00:00Z")) == 11
    assert calendar("day", -14).number(0) == -1
    assert calendar("week", 0).number(at("1970-01-03T23:59:59Z")) == -1


def test_the_clocks_of_some_time_are_no_others() -> None:
    days = calendar("day", "Europe/Berlin")
    assert days.clocks(None, None) == days.segments
    assert len(days.clocks(at("2015-01-01T00:00:00Z"), at("2015-03-29T00:59:59Z"))) == 1
    assert len(days.clocks(at("2015-01-01T00:00:00Z"), at("2015-03-29T01:00:00Z"))) == 2
    assert len(days.clocks(at("2015-03-29T01:00:00Z"), at("2015-12-31T00:00:00Z"))) == 2
    assert days.clocks(None, at("1700-01-01T00:00:00Z")) == days.segments[:1]
    assert days.clocks(at("2200-01-01T00:00:00Z"), None) == days.segments[-1:]
    assert len(days.clocks(at("2015-12-31T00:00:00Z"), at("2015-01-01T00:00:00Z"))) == 1, "there are none"
