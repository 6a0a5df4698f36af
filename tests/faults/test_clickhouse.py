"""Row 35: ClickHouse is gone, or an answer of it is lost or comes in half: every 200 stays true, an id counts once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from clickhouse_facade import ClickHouseFacade
from clickhouse_faults import Cut, Fails, FailsMidway, Hang, Page, Reset
from spooling import LONG

from connect_logging.server.query.parser import parse_export_query, parse_query
from connect_logging.server.stores.base import NewEvent, NewEvents, StoreError, StoreUnavailableError
from connect_logging.server.stores.clickhouse import ClickHouseStore
from connect_logging.server.stores.clickhouse_address import parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_tables import make_tables
from connect_logging.server.stores.clickhouse_writing import write
from connect_logging.server.stores.requests import Insert

COLLECTION = "things"


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseFacade]:
    with ClickHouseFacade(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def facade(clickhouse: ClickHouseFacade) -> Iterator[ClickHouseFacade]:
    clickhouse.asked.clear()
    yield clickhouse
    clickhouse.heal()


@pytest.fixture(scope="module")
def store(clickhouse: ClickHouseFacade) -> Iterator[ClickHouseStore]:
    made = ClickHouseStore(
        parse_address(clickhouse.address), memory_limit="1GB", query_timeout=10, max_waiting=10_000_000
    )
    with closing(made):
        yield made


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """One for each test."""
    name: str = request.node.name
    return name


def events(*numbers: int) -> NewEvents:
    return {COLLECTION: [NewEvent(f'"{n}"', 1_700_000_000_000_000 + n, b'{"n":%d}' % n) for n in numbers]}


def count(store: ClickHouseStore, project: str) -> int:
    return sum(each.events for each in store.collections(project))


def named(fault: object) -> str:
    return type(fault).__name__


LOST = [Reset(), Cut(0), Page(commit=True), Fails(commit=True), Fails(status=503, commit=True)]


@pytest.mark.parametrize("fault", LOST, ids=named)
def test_row_35_an_insert_whose_answer_is_lost_may_be_sent_again(
    facade: ClickHouseFacade, store: ClickHouseStore, project: str, fault: Any, figure: Any
) -> None:
    facade.fail(fault, times=None, of="^INSERT INTO .*events")
    with pytest.raises(StoreUnavailableError, match="could not be stored"):
        store.insert(project, events(1, 2)).result()
    facade.heal()
    assert count(store, project) == 2, "the fault is not the one that was meant"
    assert store.insert(project, events(1, 2, 3)).result() == {COLLECTION: [False, False, True]}
    assert count(store, project) == 3
    figure("35", "an insert whose answer was lost, sent again: duplicates = 0")


def test_row_35_an_insert_that_is_not_answered_in_time_may_be_sent_again(
    facade: ClickHouseFacade, store: ClickHouseStore, project: str
) -> None:
    """Also where the first one is stored after the second: nobody can know."""
    with closing(ClickHouse(parse_address(facade.address), silence=1)) as impatient:
        tables = make_tables(impatient)
        facade.fail(Hang(), of="^INSERT INTO .*events")
        with pytest.raises(StoreUnavailableError):
            write(impatient, tables, [Insert.of(project, events(1, 2))], 2)
        facade.fail(Cut(), of="^SELECT .* IN ")  # half an answer to which are there already
        with pytest.raises(StoreUnavailableError):
            write(impatient, tables, [Insert.of(project, events(1, 2))], 1)
    assert count(store, project) == 2
    assert store.insert(project, events(1, 2, 3)).result() == {COLLECTION: [False, False, True]}
    assert count(store, project) == 3


@pytest.mark.parametrize("fault", [Reset(commit=False), Fails(status=503), Page()], ids=named)
def test_row_35_an_insert_that_did_not_happen_is_no_success(
    facade: ClickHouseFacade, store: ClickHouseStore, project: str, fault: Any
) -> None:
    facade.fail(fault, times=None, of="^INSERT INTO .*events")
    with pytest.raises(StoreUnavailableError):
        store.insert(project, events(1)).result()
    facade.heal()
    assert count(store, project) == 0
    assert store.insert(project, events(1)).result() == {COLLECTION: [True]}


QUERIES = [{"select": {"n": "count"}}, {"select": {"s": {"sum": "n"}}, "groupBy": "n"}]


def reads(store: ClickHouseStore, project: str) -> list[Callable[[], object]]:
    """Everything that is read from a store."""
    everything = parse_export_query({}, 0)

    def export(form: Any) -> Callable[[], object]:
        return lambda: b"".join(store.export(project, COLLECTION, everything, form, stopped=threading.Event()))

    return [
        *(lambda query=query: store.query(project, COLLECTION, parse_query(json.dumps(query), 0)) for query in QUERIES),  # type: ignore[misc]
        lambda: store.collections(project),
        lambda: store.describe(project, COLLECTION),
        *map(export, ("connect", "jsonl", "csv", "parquet")),
    ]


BROKEN = [broken(share) for share in (0, 0.5, 1) for broken in (Cut, FailsMidway)]
BROKEN += [FailsMidway(share, is_ended=True) for share in (0, 0.5, 1)]
ALSO = [*(Cut(share, "length") for share in (0, 0.5, 1)), Reset(), Page(), Fails(status=503)]


@pytest.mark.parametrize("fault", [*BROKEN, *ALSO] if LONG else BROKEN, ids=named)
def test_row_35_half_an_answer_is_an_error(
    facade: ClickHouseFacade, store: ClickHouseStore, fault: Any, figure: Any
) -> None:
    """And not a wrong result, whatever is asked and wherever it breaks off."""
    store.insert("half", events(*range(500))).result()
    for read in reads(store, "half"):
        facade.fail(fault, times=None, of="events")
        with pytest.raises(StoreError):
            read()
        facade.heal()
        assert read()
    figure("35", "half an answer to whatever is read: wrong results = 0")


def test_row_35_a_store_gets_over_it(facade: ClickHouseFacade, store: ClickHouseStore, project: str) -> None:
    store.insert(project, events(1)).result()
    facade.refuse()
    with pytest.raises(StoreUnavailableError):
        store.check()
    with pytest.raises(StoreUnavailableError, match="could not be stored"):
        store.insert(project, events(2)).result()
    with pytest.raises(StoreUnavailableError):
        store.collections(project)
    facade.listen()
    store.check()
    assert store.insert(project, events(1, 2)).result() == {COLLECTION: [False, True]}
    assert count(store, project) == 2
