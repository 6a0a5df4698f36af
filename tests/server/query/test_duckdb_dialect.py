"""What DuckDB is asked to compute, against our own computation."""

from __future__ import annotations

import random
from typing import get_args

import duckdb
import pytest

from connect_logging._grammar.calendars import Calendar
from connect_logging._grammar.model import Span
from connect_logging._grammar.zones import read_zone
from connect_logging._terms import Unit
from connect_logging.server.query.dialect import Column
from connect_logging.server.query.duckdb_dialect import DuckDBDialect

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
    anywhere += [-62_135_596_800_000_000, 253_402_300_799_999_999]
    return [*anywhere, *(start + aside for start, _ in calendar.segments[1:] for aside in (-1, 0, 1))]


@pytest.mark.parametrize("unit", get_args(Unit))
def test_units_are_those_of_the_calendar(unit: Unit) -> None:
    with duckdb.connect() as database:
        for name in ZONES:
            zone = read_zone(name)
            assert zone is not None
            calendar = Calendar(unit, zone)
            check(database, calendar, moments(calendar), Span(), DuckDBDialect())
            known = [moment for moment in moments(calendar) if SPAN[0] <= moment < SPAN[1]]
            check(database, calendar, known, Span(*SPAN), DuckDBDialect())
            check(database, calendar, known, Span(start=SPAN[0]), DuckDBDialect(times=lambda: (None, SPAN[1] - 1)))
            check(database, calendar, known, Span(end=SPAN[1]), DuckDBDialect(times=lambda: SPAN))


SPAN = 946_684_800_000_000, 1_480_000_000_000_000
"""Some years."""


def check(
    database: duckdb.DuckDBPyConnection, calendar: Calendar, wanted: list[int], span: Span, dialect: DuckDBDialect
) -> None:
    found = database.execute(
        f"SELECT {dialect.unit(calendar, span)} FROM (SELECT make_timestamp(unnest(?::BIGINT[])) AS timestamp)",
        [wanted],
    ).fetchall()
    assert [number for (number,) in found] == [calendar.number(moment) for moment in wanted], calendar.unit


def test_a_step_is_never_read_as_a_path() -> None:
    column = Column("p0", ("a", "b"), ["$v0", "$v1"])
    DuckDBDialect().value(column, "text")
    assert column.extracts == {"p0": "variant_extract(variant_extract(doc, $v0), $v1)"}
