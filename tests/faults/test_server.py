"""Rows 31 to 34: the server is killed, sent the same twice, out of disk, and asked too much; every 200 stays true.

``CONNECT_TEST_KILLS`` sets how often it is killed; 500 for a long run.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import Serve
from pacing import HEAVY, Pace, fill, metric
from server_process import ServerProcess
from spooling import LONG

from connect_logging.server.backup import back_up
from connect_logging.server.data_directory import DataDirectory
from connect_logging.server.projects import ProjectFile

KILLS = int(os.environ.get("CONNECT_TEST_KILLS", "5"))
PUSHERS = 4
BATCH = 20


class Pushers:
    """Threads that push batches without pause until the server dies, and remember what it answered 200."""

    def __init__(self, server: ServerProcess, collection: str) -> None:
        self.acknowledged: set[int] = set()
        self.unanswered: set[int] = set()
        self._server = server
        self._collection = collection
        self._numbers = itertools.count()
        self._answered = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._push) for _ in range(PUSHERS)]
        for thread in self._threads:
            thread.start()

    def wait_for_answers(self, count: int) -> None:
        for _ in range(count):
            assert self._answered.acquire(timeout=30)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _push(self) -> None:
        with requests.Session() as session:
            session.headers.update(self._server.headers())
            while True:
                ids = [next(self._numbers) for _ in range(BATCH)]
                body = {self._collection: [{"id": number, "n": number} for number in ids]}
                try:
                    answer = session.post(self._server.url + "/events", json=body, timeout=30)
                except requests.RequestException:
                    self.unanswered.update(ids)
                    return
                assert answer.status_code == 200
                assert all(result["success"] for result in answer.json()[self._collection])
                self.acknowledged.update(ids)
                self._answered.release()


def stored(server: ServerProcess, collection: str) -> dict[int, int]:
    """How often each number is stored."""
    rows = server.query(collection, {"select": {"times": "count"}, "groupBy": "n"})
    return {row["n"]: row["times"] for row in rows}


def test_row_31_a_killed_server_has_kept_every_200(serve: Serve, figure: Any) -> None:
    server = serve()
    chance = random.Random(31)
    total = lost = duplicates = halves = 0
    for kill in range(KILLS):
        collection = f"kill{kill}"
        pushers = Pushers(server, collection)
        pushers.wait_for_answers(chance.randint(1, 30))
        threading.Event().wait(chance.uniform(0, 0.004))  # anywhere within a commit
        server.kill()
        pushers.join()
        server.restart()
        found = stored(server, collection)
        lost += len(pushers.acknowledged - set(found))
        halves += len(pushers.unanswered & set(found)) % BATCH
        # What had no answer is sent again, as a client does: it may have been stored or not.
        again = [{"id": number, "n": number} for number in sorted(pushers.unanswered)]
        server.push(collection, *again)
        found = stored(server, collection)
        assert set(found) == pushers.acknowledged | pushers.unanswered
        duplicates += sum(found.values()) - len(found)
        total += len(pushers.acknowledged)
    figure("31", f"{KILLS} kills, {total} events answered 200, lost = {lost}, duplicates = {duplicates}")
    assert (lost, duplicates, halves) == (0, 0, 0)


def test_row_32_an_id_is_stored_once_however_it_comes(serve: Serve, figure: Any) -> None:
    server = serve()
    ids = [f"id{number}" for number in range(100)]

    def push(sender: int) -> int:
        """Everything once, one by one or in a batch that names each twice; how many were new."""
        with requests.Session() as session:
            session.headers.update(server.headers())
            if sender % 2:
                body = {"c": [{"id": name, "n": place} for place, name in enumerate(ids)] * 2}
                results = session.post(server.url + "/events", json=body, timeout=30).json()["c"]
                assert all(result["success"] for result in results)
                return sum(not result["duplicate"] for result in results)
            new = 0
            for place, name in enumerate(ids):
                answer = session.post(server.url + "/events/c", json={"id": name, "n": place}, timeout=30)
                assert answer.status_code == 200
                new += "X-Connect-Duplicate" not in answer.headers
            return new

    with ThreadPoolExecutor(8) as threads:
        concurrent = sum(threads.map(push, range(8)))
    server.kill()
    server.restart()
    after_kill = push(1)
    assert server.stop() == 0
    server.restart()
    after_stop = push(0)
    found = stored(server, "c")
    duplicates = sum(found.values()) - len(found)
    figure("32", f"{len(ids)} ids sent 18 times or more by 8 senders, 2 restarts: duplicates = {duplicates}")
    assert len(found) == concurrent == len(ids)
    assert (after_kill, after_stop, duplicates) == (0, 0, 0)


def test_row_33_a_full_disk_is_a_503_and_passes(serve: Serve, figure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is on the size of the process's files: a disk that is full for everything but small writes."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # what fits of it would stay, see full_disks
    server = serve()
    server.push("c", {"id": "before"})
    unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    log = server.data / "events.duckdb.wal"
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 10_000, unlimited[1]))
    body = {"c": [{"id": str(number), "a": str(number) * 100} for number in range(1_000)]}
    refused = [server.request("POST", "/events", body) for _ in range(3)]
    assert [answer.status_code for answer in refused] == [503] * 3
    assert all("could not be stored" in answer.json()["errorMessage"] for answer in refused)
    assert server.count("c") == 1
    lines = "\n".join(map(json.dumps, body["c"])).encode()
    imported = server.request("POST", "/event-import?collection=c", lines)
    assert str(server.data) not in "".join(answer.text for answer in (*refused, imported)), (
        "a path is nobody's business"
    )
    assert (server.errors.count("\n"), str(server.data) in server.errors) == (1, True), "but the operator's, once"
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
    server.push("c", *body["c"])
    server.kill()
    server.restart()
    figure("33", f"false 200 = {1_001 - server.count('c')}")
    assert server.count("c") == 1_001


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace injects the fault")
def test_row_33_a_disk_that_fails_to_sync_is_a_503_and_passes(serve: Serve, figure: Any) -> None:
    server = serve()
    server.push("c", {"n": -1})
    inject = ["-f", "-p", str(server.pid), "-o", "/dev/null", "-e", "trace=fdatasync"]
    command = ["strace", *inject, "-e", "inject=fdatasync:error=EIO:when=3+3"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        if "attached" not in tracer.stderr.readline():
            pytest.skip("this process may not trace another")
        answers = [server.request("POST", "/events/c", {"id": n, "n": n}).status_code for n in range(20)]
        server.kill()
    acknowledged = {n for n, status in enumerate(answers) if status == 200}
    server.restart()
    found = stored(server, "c")
    lost = len(acknowledged - set(found))
    figure("33", f"{answers.count(503)} of {len(answers)} syncs failed: false 200 = {lost}")
    assert set(answers) == {200, 503}
    assert lost == 0
    assert set(found.values()) == {1}


STORED = 50_000
CLIENTS = 5
PUSHES = 1_000 if LONG else 100


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that holds events enough for a query to take its time, and has memory for three of them."""
    running = ServerProcess(tmp_path_factory.mktemp("full") / "data", options=["--memory", "2GB"])
    fill(running, "c", STORED)
    yield running
    running.stop()


def heavy_request(server: ServerProcess) -> socket.socket:
    """Ask what takes long, and do not wait."""
    body = json.dumps(HEAVY).encode()
    lines = ["POST /events/c/query HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in server.headers("query").items()]
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return client


def wait_for(server: ServerProcess, name: str, value: float) -> None:
    while metric(server, name) != value:
        threading.Event().wait(0.005)


def test_row_34_ingest_keeps_its_pace_beside_heavy_queries(serve: Serve, figure: Any) -> None:
    """Together they need more memory than there is: that is the queries' loss."""
    server = serve()
    fill(server, "c", STORED)
    enough = threading.Event()

    def ask(_: int) -> int:
        """Ask without pause; how many answers came."""
        answers = 0
        while not enough.is_set():
            with heavy_request(server) as client:
                client.settimeout(0.05)
                while not enough.is_set():
                    with suppress(TimeoutError):
                        assert client.recv(9_999).startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 503 "))
                        answers += 1
                        break
        return answers

    with Pace(server, "without") as without:
        without.wait(PUSHES)
    with ThreadPoolExecutor(CLIENTS) as clients, Pace(server, "beside") as beside:
        asked = clients.map(ask, range(CLIENTS))
        try:
            beside.wait(PUSHES)
        finally:
            enough.set()
    figure("34", f"pushes alone: {without}; beside {CLIENTS} clients with {sum(asked)} heavy queries: {beside}")
    assert (without.failures, beside.failures) == ([], [])
    # One that waited for a query, or for the memory of one, would wait for seconds.
    assert beside.at(0.99) < 1


def test_row_34_a_query_ends_when_its_client_goes(full: ServerProcess, figure: Any) -> None:
    stopped = metric(full, 'connect_queries_total{outcome="stopped"}')
    clients = [heavy_request(full) for _ in range(CLIENTS)]
    wait_for(full, "connect_queries_running", 3)
    wait_for(full, "connect_queries_waiting", CLIENTS - 3)
    began = time.perf_counter()
    for client in clients:
        client.close()
    wait_for(full, "connect_queries_running", 0)
    seconds = time.perf_counter() - began
    figure("34", f"{CLIENTS} queries, running and waiting, ended {1_000 * seconds:.0f} ms after their clients had gone")
    assert metric(full, 'connect_queries_total{outcome="stopped"}') == stopped + CLIENTS
    assert full.errors == ""


def test_row_34_another_project_does_not_wait_for_a_greedy_one(full: ServerProcess, figure: Any) -> None:
    other = ProjectFile(full.data / "projects.json").create()
    headers = {"X-Project-Id": other.id, "X-Api-Key": other.keys.query}
    clients = [heavy_request(full) for _ in range(4 * CLIENTS)]
    wait_for(full, "connect_queries_running", 3)
    seconds = []
    while metric(full, "connect_queries_waiting") > CLIENTS:
        began = time.perf_counter()
        assert full.request("GET", "/events/c?query={}", headers=headers).status_code == 200
        seconds.append(time.perf_counter() - began)
        if len(seconds) == 20:
            break
    for client in clients:
        client.close()
    wait_for(full, "connect_queries_running", 0)
    median = sorted(seconds)[len(seconds) // 2]
    figure("34", f"a small query beside {4 * CLIENTS} heavy ones of another project: {1_000 * median:.0f} ms")
    assert len(seconds) == 20, "the greedy project was served first"


def test_a_backup_leaves_ingest_its_pace(full: ServerProcess, tmp_path: Path, figure: Any) -> None:
    with Pace(full, "without") as without:
        without.wait(PUSHES)
    with Pace(full, "beside") as beside:
        made = back_up(DataDirectory(full.data), tmp_path / "copy", lambda done, total: None)
    figure("34", f"pushes alone: {without}; beside a backup of {made.events:,} events: {beside}")
    assert made.events >= STORED
    assert beside.failures == []


@pytest.mark.parametrize(
    ("timeout", "signals"), [("0", [signal.SIGTERM]), ("60", [signal.SIGTERM, signal.SIGINT])], ids=["late", "twice"]
)
def test_row_34_a_stop_does_not_wait_for_heavy_queries(
    serve: Serve, timeout: str, signals: list[signal.Signals], figure: Any
) -> None:
    """They are cut off when the time is over, or with a second signal."""
    server = serve(options=["--stop-timeout", timeout])
    fill(server, "c", STORED)
    clients = [heavy_request(server) for _ in range(CLIENTS)]
    wait_for(server, "connect_queries_running", 3)
    began = time.perf_counter()
    for number in signals[:-1]:
        os.kill(server.pid, number)
        with suppress(requests.RequestException):
            while server.request("GET", "/health").ok:
                pass
    code = server.stop(signals[-1])
    assert code == 0, server.errors
    figure("34", f"stopped amid {CLIENTS} heavy queries within {time.perf_counter() - began:.1f} s")
    for client in clients:
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
        client.close()
    assert "Traceback" not in server.errors
    server.restart()
    assert server.count("c") == STORED
