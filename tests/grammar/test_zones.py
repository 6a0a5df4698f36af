"""Time zones: their offsets, and what names none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging._grammar.zones import ALWAYS, EPOCH, MICROSECOND, read_zone

ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"]
BORDERS = datetime(1900, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)


@given(st.sampled_from(ZONES), st.datetimes(timezones=st.just(UTC)))
def test_offsets_are_those_of_the_database_and_of_the_border_beyond_it(name: str, moment: datetime) -> None:
    zone = read_zone(name)
    assert zone is not None
    known = min(max(moment, BORDERS[0]), BORDERS[1])
    [*_, (_, offset)] = [each for each in zone.segments if each[0] <= (moment - EPOCH) // MICROSECOND]
    assert offset * MICROSECOND == known.astimezone(ZoneInfo(name)).utcoffset()


def test_changes_are_known_to_the_second() -> None:
    zone = read_zone("Europe/Berlin")
    assert zone is not None
    summer = int(datetime(2015, 3, 29, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert (summer, 7_200_000_000) in zone.segments
    assert zone.segments[0][0] == ALWAYS


@pytest.mark.parametrize(
    ("hours", "minutes"),
    [(0, 0), (10, 600), (10.5, 630), (-8, -480), (5.75, 345), (-3.5, -210), (8.33, 500), (14, 840)],
)
def test_hours_from_utc(hours: float, minutes: int) -> None:
    zone = read_zone(hours)
    assert zone is not None
    assert zone.name == hours
    assert zone.segments == ((ALWAYS, timedelta(minutes=minutes) // MICROSECOND),)


NO_ZONES: list[Any] = [15, -14.1, 1e300, True, [], {}, "", "10", "Japan/Tokyo", "europe/berlin", "localtime", "America"]
NO_ZONES += ["posixrules", "../../etc/passwd", "/etc/localtime", "Europe/../Europe/Berlin", "UTC\x00", "tzdata.zi", "é"]


@pytest.mark.parametrize("name", NO_ZONES)
def test_what_names_no_zone(name: Any) -> None:
    assert read_zone(name) is None
