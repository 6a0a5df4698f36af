"""What ClickHouse is asked to compute, against our own computation, and what its statements may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from connect_logging._grammar.calendars import Calendar
from connect_logging._grammar.model import Span
from connect_logging._grammar.zones import read_zone
from connect_logging._terms import Unit
from connect_logging.server.query.clickhouse_dialect import ClickHouseDialect
from connect_logging.server.query.compiler import compile_query
from connect_logging.server.query.dialect import Source
from connect_logging.server.query.parser import parse_query
from connect_logging.server.stores.clickhouse_connection import ClickHouse

from ..clickhouse_database import fresh_database, in_process
from .test_duckdb_dialect import SPAN, moments


@pytest.fixture(scope="module")
def database(engine_directory: Path) -> Iterator[ClickHouse]:
    with fresh_database(in_process(engine_directory)) as address, closing(ClickHouse(address)) as opened:
        yield opened


@pytest.mark.parametrize("unit", get_args(Unit))
def test_units_are_those_of_the_calendar(database: ClickHouse, unit: Unit) -> None:
    for name in ("UTC", 5.75, "America/St_Johns", "Pacific/Apia"):
        zone = read_zone(name)
        assert zone is not None
        calendar = Calendar(unit, zone)
        check(database, calendar, moments(calendar), Span(), ClickHouseDialect())
        known = [moment for moment in moments(calendar) if SPAN[0] <= moment < SPAN[1]]
        check(database, calendar, known, Span(end=SPAN[1]), ClickHouseDialect(times=lambda: SPAN))


def check(database: ClickHouse, calendar: Calendar, wanted: list[int], span: Span, dialect: ClickHouseDialect) -> None:
    found = database.rows(
        "",
        f"SELECT {dialect.unit(calendar, span)} FROM (SELECT arrayJoin({{moments:Array(Int64)}}) AS timestamp)",
        {"moments": wanted},
    )
    assert [number for (number,) in found] == [calendar.number(moment) for moment in wanted], calendar.unit


def sql(query: object) -> str:
    return compile_query(parse_query(json.dumps(query), 0), Source("events"), ClickHouseDialect()).sql


@pytest.mark.parametrize("name", ["a b", "a`b", "a'b", "é", "1a", "a-b", "a" * 65, "\\", "a\n"])
def test_only_plain_names_stand_in_a_statement(name: str) -> None:
    assert "doc.`a`.`b_1`.:String" in sql({"groupBy": "a.b_1"})
    for path in (name, f"a.{name}", f"{name}.a"):
        assert "doc" not in sql({"groupBy": path})
        assert name not in sql({"groupBy": path}).split()


def test_a_statement_and_each_parameter_fit_into_the_field_of_a_form() -> None:
    query = {
        "filter": {"a": ["é'" * 33_000, *(f"\\{number}" for number in range(9_999))], "b": {"lt": "'" * 500_000}},
        "groupBy": [f"g{number}" for number in range(40)],
    }
    statement = compile_query(parse_query(json.dumps(query).encode(), 0), Source("events"), ClickHouseDialect())
    escaped = [repr(value).replace("\\\\", "\\") for value in statement.parameters.values()]
    assert max(len(each.encode()) for each in escaped) < 2**17
    assert len(statement.sql) < 2**17


def test_a_text_is_cut_only_where_no_event_can_have_it() -> None:
    longest = "é" * 32_765
    argument = ClickHouseDialect().argument
    assert argument(longest) == longest
    assert argument(longest + "éé") == longest
