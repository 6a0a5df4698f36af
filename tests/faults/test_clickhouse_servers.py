"""Row 35 with real servers: their ClickHouse is gone or loses answers, and two of them share one while one is killed.

With ``CONNECT_FAULTS=long`` one is killed many times, under load all the while.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from clickhouse_faults import Cut, Fails, FailsMidway, Late, Page, Reset
from clickhouse_http import PASSWORD
from clickhouse_process import FacadeProcess
from commands import done
from pushing import balanced, logger_with
from server_process import ServerProcess
from spooling import LONG, segments, until

from connect_logging import ConnectClient, ConnectHandler

KILLS = 40 if LONG else 2
PACE = 0.001 if LONG else 0.01
"""Seconds from one log call to the next, of each of four threads."""
OWN, SHARED = 1_000_000, 0
"""Where the numbers of events begin that one handler pushes, and of those that several do."""


@pytest.fixture
def facade(clickhouse_process: FacadeProcess) -> Iterator[FacadeProcess]:
    yield clickhouse_process
    clickhouse_process.heal()


@pytest.fixture(scope="module")
def servers(
    clickhouse_process: FacadeProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ServerProcess]]:
    """Two, for all tests: each has a collection of its own."""
    address = clickhouse_process.address_of("served")
    directory = tmp_path_factory.mktemp("servers")
    running = [ServerProcess(directory / name, store=address) for name in ("first", "second")]
    yield running
    for server in running:
        server.stop()


@pytest.fixture
def collection(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name


def make_handler(server: ServerProcess, spool: Path, **options: Any) -> ConnectHandler:
    given = {"spool": spool, "flush_interval": 0.01, "flush_events": 50, "exit_timeout": 0.1, **options}
    return ConnectHandler(server.project_id, server.keys["push"], server.url, **given)


def log_events(log: logging.Logger, collection: str, numbers: Iterable[int]) -> None:
    for number in numbers:
        log.info("", extra={"collection": collection, "event": {"id": number, "n": number}})


def stored(server: ServerProcess, collection: str) -> Counter[int]:
    """How often each number is stored."""
    with ConnectClient(server.project_id, server.keys["query"], server.url) as client:
        return Counter(event["n"] for event in client.export(collection))


def is_ready(server: ServerProcess) -> bool:
    return server.request("GET", "/ready", headers={}).status_code == 200


def in_order(server: ServerProcess) -> bool:
    """Whether it has told in lines of its own, and of no secret, what its operator should know."""
    return not any(text in server.errors for text in ("Traceback", "urllib3", "Http Driver", PASSWORD))


def test_row_35_what_is_pushed_while_clickhouse_is_gone_arrives(
    facade: FacadeProcess, servers: list[ServerProcess], collection: str, tmp_path: Path, figure: Any
) -> None:
    server = servers[0]
    with closing(make_handler(server, tmp_path / "spool")) as handler, logger_with(handler) as log:
        log_events(log, collection, range(100))
        assert handler.flush(10)
        facade.refuse()
        until(lambda: not is_ready(server))
        refused = server.request("POST", f"/events/{collection}", {"id": 5})
        assert refused.status_code == 503
        assert "the database cannot be reached" in refused.json()["errorMessage"]
        asked = server.request("GET", f"/events/{collection}?query={{}}")
        assert (asked.status_code, asked.json()["errorMessage"].count("cannot be reached")) == (503, 1)
        log_events(log, collection, range(100, 300))
        until(lambda: handler.stats()["retried"] > 0)
        assert server.request("GET", "/health", headers={}).status_code == 200
        facade.listen()
        until(lambda: is_ready(server))
        assert handler.flush(30)
        stats = handler.stats()
    found = stored(server, collection)
    lost, duplicates = 300 - len(found), found.total() - len(found)
    figure("35", f"ClickHouse gone while 200 events are pushed: lost = {lost}, duplicates = {duplicates}")
    assert (lost, duplicates) == (0, 0)
    assert (stats["delivered"], stats["dropped"], stats["pending"]) == (300, {}, 0)
    assert in_order(server), server.errors


LOST = [Reset(), Cut(0), Late(1.5)]
if LONG:
    LOST += [Fails(commit=True), Page(commit=True), Reset(commit=False), Fails(status=503)]


def test_row_35_what_is_stored_and_not_answered_counts_once(
    facade: FacadeProcess, servers: list[ServerProcess], collection: str, tmp_path: Path, figure: Any
) -> None:
    """``Late``: beyond the time that the client waits, so that it asks again while the first is still under way.

    A connection that was reset is tried once more by the server itself.
    """
    server = servers[0]
    with closing(make_handler(server, tmp_path / "spool", timeout=1.0)) as handler, logger_with(handler) as log:
        for place, fault in enumerate(LOST):
            facade.fail(fault, times=2 if isinstance(fault, Reset) else 1, of="^INSERT INTO .*events")
            log_events(log, collection, range(100 * place, 100 * (place + 1)))
            assert handler.flush(30), fault
        stats = handler.stats()
    found = stored(server, collection)
    lost, duplicates = 100 * len(LOST) - len(found), found.total() - len(found)
    figure("35", f"{len(LOST)} kinds of lost answers under a handler: lost = {lost}, duplicates = {duplicates}")
    assert (lost, duplicates) == (0, 0)
    assert balanced(stats)
    assert stats["duplicate"] > 0, "no fault was met"
    assert in_order(server), server.errors


def test_row_35_half_an_answer_of_clickhouse_is_no_answer(
    facade: FacadeProcess, servers: list[ServerProcess], collection: str
) -> None:
    server = servers[1]
    server.push(collection, *({"id": number, "n": number, "text": "x" * 500} for number in range(1_000)))
    query = json.dumps({"select": {"total": {"sum": "n"}}, "groupBy": "n"})
    for fault in (Cut(0), Cut(0.5), Cut(1), FailsMidway(0.5), FailsMidway(1)):
        facade.fail(fault, times=None, of="events")
        asked = server.request("GET", f"/events/{collection}", params={"query": query})
        assert (asked.status_code, [*asked.json()]) == (503, ["errorMessage"])
        assert not exports_all(server, collection)
        facade.heal()
        assert server.query(collection, {"select": {"total": {"sum": "n"}}}) == [{"total": sum(range(1_000))}]
        assert exports_all(server, collection)
    assert in_order(server), server.errors


def exports_all(server: ServerProcess, collection: str) -> bool:
    """Whether an export ends as if it were whole; then it is."""
    try:
        exported = server.request("GET", f"/events/{collection}/export", params={"format": "jsonl", "query": "{}"})
    except requests.RequestException:  # it broke off
        return False
    assert exported.status_code in (200, 503)
    assert exported.status_code == 503 or exported.content.count(b"\n") == 1_000
    return exported.status_code == 200


def test_row_35_an_event_that_goes_through_two_servers_at_once_counts_once(
    facade: FacadeProcess, servers: list[ServerProcess], collection: str, figure: Any
) -> None:
    """Each finds, at the same moment, that it is not there: both say that they have stored it, and it is there once."""
    together = threading.Barrier(2)
    body = {collection: [{"id": number, "n": number} for number in range(100)]}

    def push(server: ServerProcess) -> int:
        together.wait()
        results = server.request("POST", "/events", body).json()[collection]
        assert all(result["success"] for result in results)
        return sum(not result["duplicate"] for result in results)

    facade.fail(Late(0.5), times=2, of="^SELECT project, collection, id FROM")
    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(push, servers)) == 200, "one has found what the other stored"
    assert [server.count(collection) for server in servers] == [100, 100]
    assert stored(servers[0], collection) == Counter(range(100))
    figure("35", "100 events through two servers at the same moment: duplicates = 0")


class Load:
    """Handlers with a spool each, that log without pause from threads of their own, until the end of a block.

    Each pushes numbers of its own and numbers that all push; ``logged``: all of them.
    """

    def __init__(self, servers: list[ServerProcess], collection: str, spools: Path) -> None:
        self.logged: set[int] = set()
        self._collection = collection
        self._ended = threading.Event()
        self._handlers = [
            make_handler(server, spools / f"spool{place}", flush_events=20) for place, server in enumerate(servers)
        ]
        self._threads = [threading.Thread(target=self._log, args=(place,)) for place in range(len(self._handlers))]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def delivered(self) -> list[int]:
        """What each handler knows to be stored."""
        return [stats["delivered"] + stats["duplicate"] for stats in (each.stats() for each in self._handlers)]

    def leave(self) -> None:
        """Close the handlers, whatever they still have in their spools."""
        for handler in self._handlers:
            handler.close()

    def _log(self, place: int) -> None:
        with logger_with(self._handlers[place]) as log:
            for number in itertools.count():
                if self._ended.wait(PACE):
                    return
                numbers = [SHARED + number, OWN * (place + 1) + number]
                log_events(log, self._collection, numbers)
                self.logged.update(numbers)


def test_row_35_of_two_servers_on_one_clickhouse_one_is_killed(
    servers: list[ServerProcess], collection: str, tmp_path: Path, figure: Any
) -> None:
    """The killed one comes back, and in the end it stays away, and what was for it goes to the other."""
    chance = random.Random(35)
    assert servers[0].keys == servers[1].keys
    with Load(servers * 2, collection, tmp_path) as load:
        for kill in range(KILLS):
            killed, other = servers if kill % 2 else reversed(servers)
            before = load.delivered()
            until(lambda before=before: all(map(int.__gt__, load.delivered(), before)), 60)  # type: ignore[misc]
            threading.Event().wait(chance.uniform(0, 0.02))  # anywhere within a commit
            killed.kill()
            assert other.request("GET", "/ready", headers={}).status_code == 200
            if kill < KILLS - 1:
                killed.restart()
    load.leave()
    for place in range(4):
        with closing(make_handler(other, spool := tmp_path / f"spool{place}")) as successor:
            until(lambda spool=spool: segments(spool) == [], 60)  # type: ignore[misc]
        assert balanced(successor.stats())
    found = stored(other, collection)
    lost, duplicates = len(load.logged - set(found)), found.total() - len(found)
    figure("35", f"{KILLS} kills of one of two servers, {len(found)} events: lost = {lost}, duplicates = {duplicates}")
    assert (lost, duplicates) == (0, 0)
    assert set(found) == load.logged
    assert all(in_order(server) for server in servers), [server.errors for server in servers]
    killed.restart()


def test_row_35_what_one_server_is_told_the_other_knows(
    clickhouse_process: FacadeProcess, servers: list[ServerProcess], collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = servers
    events = b'{"id":1,"n":1}\n{"id":2,"n":2}\n'
    imported = first.request("POST", f"/event-import?collection={collection}", events)
    assert imported.status_code == 201, imported.text
    told = second.request("GET", f"/event-import/{imported.json()['id']}").json()
    assert (told["status"], told["importedEvents"]) == ("Complete", 2)
    assert second.request("GET", "/event-import").json() == first.request("GET", "/event-import").json()
    assert stored(second, collection) == {1: 1, 2: 1}
    monkeypatch.setenv("CONNECT_STORE", clickhouse_process.address_of("served"))
    made = json.loads(done("project", "create", "--json"))
    known = {"X-Project-Id": made["projectId"], "X-Api-Key": made["master"]}
    for server in (first, second):
        until(lambda server=server: server.request("GET", "/collections", headers=known).status_code == 200, 5)  # type: ignore[misc]
    done("project", "reset-keys", "--project", made["projectId"], "--yes", "--json")
    for server in (first, second):
        until(lambda server=server: server.request("GET", "/collections", headers=known).status_code == 401, 5)  # type: ignore[misc]
