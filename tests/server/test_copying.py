"""Copies: whole, compared, and gone on with where they were interrupted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from connect_logging._grammar.model import Query, Span
from connect_logging.server import copying
from connect_logging.server.copying import Copied, CopyError, Progress, choose, copy_events, copy_project
from connect_logging.server.projects import ProjectFile
from connect_logging.server.stores.base import NewEvent, NewEvents, Store, StoreBusyError, Stored
from connect_logging.server.stores.clickhouse import ClickHouseStore
from connect_logging.server.stores.clickhouse_address import ClickHouseAddress
from connect_logging.server.stores.duckdb import DuckDBStore

SECOND = 1_000_000
STRANGE = [
    NewEvent('a"b\\', -62_135_596_800_000_000, b"{}"),
    NewEvent("", 253_402_300_799_999_999, '{"é":"😀","":{"":[1,null,{}]}}'.encode()),
    NewEvent("é\u2028\x00\n", -1, b'{"a":-0.0,"b":1e300,"c":18446744073709551615,"timestamp_":"x\\"y"}'),
    NewEvent("7", 0, b'{"id_":1,"n":1.5,"t":true,"none":null,"o":{}}'),
]


OPTIONS: Any = {"memory_limit": "256MB", "query_timeout": 20, "max_waiting": 2**27}


class Watched(DuckDBStore):
    """Tells of what it was asked to store."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, threads=1, **OPTIONS)
        self.asked: list[NewEvent] = []

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        for each in events.values():
            self.asked += each
        return super().insert(project, events)


class WatchedClickHouse(ClickHouseStore):
    """The same of another store."""

    def __init__(self, address: ClickHouseAddress) -> None:
        super().__init__(address, **OPTIONS)
        self.asked: list[NewEvent] = []

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        for each in events.values():
            self.asked += each
        return super().insert(project, events)


Target: TypeAlias = Watched | WatchedClickHouse


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Watched]:
    with closing(Watched(tmp_path / "source.duckdb")) as opened:
        yield opened


@pytest.fixture(params=["DuckDB", "ClickHouse"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    if request.param == "DuckDB":
        opened: Target = Watched(tmp_path / "target.duckdb")
    else:
        opened = WatchedClickHouse(request.getfixturevalue("clickhouse_address"))
    with closing(opened):
        yield opened


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_SLICE_EVENTS", 10)


def insert(store: Store, events: Sequence[NewEvent], collection: str = "c", project: str = "p") -> None:
    store.insert(project, {collection: events}).result(30)


def made(*seconds: int) -> list[NewEvent]:
    return [NewEvent(f"id {second}", second * SECOND, b'{"n":%d}' % second) for second in seconds]


def copy(source: Store, target: Store) -> list[Copied]:
    return [*copy_events("p", source, target, lambda progress: None)]


def export(store: Store, collection: str = "c") -> bytes:
    return b"".join(store.export("p", collection, Query(), "jsonl", stopped=threading.Event()))


def test_all_collections_of_a_project_are_copied_and_compared(source: Watched, target: Target) -> None:
    insert(source, STRANGE, "strange")
    insert(source, made(*range(35)))
    insert(source, made(1), project="q")
    told: list[Progress] = []
    c, strange = copy_events("p", source, target, told.append)
    for copied, name in ((c, "c"), (strange, "strange")):
        lines = export(source, name)
        assert (copied.project, copied.collection, copied.is_same) == ("p", name, True)
        assert copied.source == (lines.count(b"\n"), hashlib.sha256(lines).hexdigest())
        assert (export(target, name), copied.sent) == (lines, copied.source.events)
    assert target.collections("q") == []
    assert [(each.collection, each.done, each.total) for each in told if each.done == each.total] == [
        ("c", 35, 35),
        ("strange", 4, 4),
    ]
    assert [each.done for each in told if each.collection == "c"] == [10, 20, 30, 35]


def test_what_is_there_is_not_sent_again(source: Watched, target: Target) -> None:
    insert(source, made(*range(35)))
    copy(source, target)
    target.asked.clear()
    [copied] = copy(source, target)
    assert (copied.is_same, copied.sent, target.asked) == (True, 0, [])


def test_a_copy_that_was_interrupted_is_gone_on_with(source: Watched, target: Target) -> None:
    insert(source, made(*range(50)))
    insert(target, made(*range(10), *range(20, 25)))
    target.asked.clear()
    [copied] = copy(source, target)
    assert (copied.is_same, copied.sent) == (True, 35)
    assert [event.id for event in target.asked] == [f"id {second}" for second in range(10, 50)]


def test_what_the_source_got_since_is_sent(source: Watched, target: Target) -> None:
    insert(source, made(*range(0, 40, 2)))
    copy(source, target)
    insert(source, made(21, 40))
    insert(source, made(1), "new")
    target.asked.clear()
    assert [(each.collection, each.is_same, each.sent) for each in copy(source, target)] == [
        ("c", True, 2),
        ("new", True, 1),
    ]
    assert len(target.asked) < 20


def test_what_differs_is_told_and_nothing_is_replaced(source: Watched, target: Target) -> None:
    insert(source, made(*range(20)))
    insert(source, made(1), "more")
    other = NewEvent("id 7", 7 * SECOND, b'{"n":"other"}')
    insert(target, [other])
    insert(target, [NewEvent("x", 0, b"{}")], "more")
    different, more = copy(source, target)
    assert (different.is_same, different.source.events, different.target.events) == (False, 20, 20)
    assert different.source.digest != different.target.digest
    assert (more.is_same, more.source.events, more.target.events) == (False, 1, 2)
    assert b'{"id":"id 7","timestamp":"1970-01-01T00:00:07.000000Z","n":"other"}' in export(target).splitlines()


def test_a_slice_that_differs_but_in_its_count_is_sent(source: Watched, target: Target) -> None:
    insert(source, made(*range(20)))
    insert(target, [NewEvent("x", 3 * SECOND, b"{}"), *made(*range(3), *range(4, 20))])
    [copied] = copy(source, target)
    assert (copied.sent, copied.target.events) == (1, 21)


def lines_of(*seconds: int) -> list[bytes]:
    return [
        b'{"id":"%d","timestamp":"1970-01-01T00:00:%02d.000000Z"}\n' % (place, second)
        for place, second in enumerate(seconds)
    ]


def test_slices_end_where_the_time_changes_or_have_no_span() -> None:
    seconds = [*range(9), *[9] * 13, *range(10, 15), *[20] * 95, *range(21, 45)]
    slices = [*copying._slices([b"".join(lines_of(*seconds))])]
    assert b"".join(each.lines for each in slices) == b"".join(lines_of(*seconds))
    assert [(len(each.events), each.span) for each in slices] == [
        (22, Span(None, 10 * SECOND)),
        (40, None),  # the second 20 is cut here,
        (40, None),  # and here,
        (20, None),  # and ends here
        (10, Span(21 * SECOND, 31 * SECOND)),
        (10, Span(31 * SECOND, 41 * SECOND)),
        (4, Span(41 * SECOND, None)),
    ]


def test_events_of_one_time_are_copied_as_well(source: Watched, target: Target) -> None:
    same = [NewEvent(f"{number:03}", 5 * SECOND, b"{}") for number in range(95)]
    insert(source, [*made(*range(5)), *same, *made(*range(6, 30))])
    for sent in (124, 0):
        [copied] = copy(source, target)
        assert (copied.is_same, copied.sent) == (True, sent)


def test_a_target_that_is_busy_is_waited_for(source: Watched, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    insert(source, made(*range(50)))
    insert_now, refused = target.insert, iter([False, True, False, True])

    def busy(project: str, events: NewEvents) -> Future[Stored]:
        if next(refused, False):
            raise StoreBusyError("too much waits")
        return insert_now(project, events)

    monkeypatch.setattr(target, "insert", busy)
    [copied] = copy(source, target)
    assert (copied.is_same, copied.sent) == (True, 50)


def test_what_is_no_event_is_not_copied() -> None:
    with pytest.raises(CopyError, match="no event"):
        [*copying._slices([b'{"timestamp":"1970-01-01T00:00:00.000000Z","id":"1"}\n'])]


def test_projects_are_chosen_and_keep_their_keys(tmp_path: Path) -> None:
    old, new = ProjectFile(tmp_path / "old"), ProjectFile(tmp_path / "new")
    first, second = old.create(), old.create()
    assert choose(old, []) == [first, second]
    assert choose(old, [second.id, second.id]) == [second]
    with pytest.raises(CopyError, match=f"no project nope: there are {first.id}, {second.id}"):
        choose(old, ["nope", first.id])
    assert copy_project(first, new)
    assert copy_project(first, new)
    assert new.list() == [first]
    reset = new.reset_keys(first.id)
    assert not copy_project(first, new)
    assert new.list() == [reset]
