"""What DuckDB is asked to compute, against our own computation."""

from __future__ import annotations

import random
import re
from typing import get_args

import duckdb
import pytest

from connect_logging._grammar.calendars import Calendar
from connect_logging._grammar.zones import read_zone
from connect_logging._terms import Unit
from connect_logging.server.query.dialect import DuckDBDialect

ZONES = [
    "UTC",
    5.75,
    -8,
    "Europe/Berlin",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
]


def moments(calendar: Calendar) -> list[int]:
    """From year 1 to year 9999, and on both sides of every change of the clocks."""
    chosen = random.Random(1)
    anywhere = [chosen.randrange(-62_135_596_800_000_000, 253_402_300_800_000_000) for _ in range(2_000)]
    return [*anywhere, *(start + aside for start, _ in calendar.segments[1:] for aside in (-1, 0, 1))]


@pytest.mark.parametrize("unit", get_args(Unit))
def test_marks_are_those_of_the_calendar(unit: Unit) -> None:
    with duckdb.connect() as database:
        for name in ZONES:
            zone = read_zone(name)
            assert zone is not None
            calendar = Calendar(unit, zone)
            wanted = moments(calendar)
            found = database.execute(
                f"SELECT {DuckDBDialect().mark(calendar)} FROM"
                " (SELECT make_timestamp(unnest(?::BIGINT[])) AS timestamp)",
                [wanted],
            ).fetchall()
            assert [mark for (mark,) in found] == [calendar.mark(moment) for moment in wanted], name


def test_a_step_is_never_read_as_a_path() -> None:
    assert re.fullmatch(r"variant_extract\(variant_extract\(doc, \?\), \?\)", DuckDBDialect().extract(2))
