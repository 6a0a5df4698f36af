"""Row 15: processes are killed at random instants; everything whose log call returned is stored once."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from conftest import Serve
from pushing import balanced
from server_process import ServerProcess
from spooling import LONG, segments

from connect_logging import ConnectHandler

KILLS = 1_000 if LONG else 15

# Forks a child for each line of its standard input. The child reports each number once its log call has returned;
# this process reports the child's id at its birth, and -1 at its end.
ZYGOTE = """
import logging, os, signal, struct, sys
from connect_logging import ConnectHandler, _rotating_file  # which a child would import while it is being killed

reports = int(sys.argv[1])
report = struct.Struct("<i").pack

def log_until_killed(child, limit, durability, sender):
    handler = ConnectHandler(
        durability=durability, sender=sender, spool=sys.argv[2], flush_interval=0.001, flush_events=100
    )
    log = logging.getLogger("app")
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    for n in range(limit):
        log.info("", extra={"collection": "things", "event": {"child": child, "n": n}})
        os.write(reports, report(n))
    while True:
        signal.pause()

for line in sys.stdin:
    child, limit, durability, sender = line.split()
    pid = os.fork()
    if pid == 0:
        log_until_killed(int(child), int(limit), durability, sender)
    os.write(reports, report(pid))
    os.waitpid(pid, 0)
    os.write(reports, report(-1))
"""


class Zygote:
    """A process with everything imported, whose children are cheap to begin and to kill."""

    def __init__(self, server: ServerProcess, spool: Path) -> None:
        self.senders_killed = 0
        self._reports, inherited = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", ZYGOTE, str(inherited), spool],
            stdin=subprocess.PIPE,
            pass_fds=[inherited],
            text=True,
            env={
                **os.environ,
                "CONNECT_PROJECT_ID": server.project_id,
                "CONNECT_API_KEY": server.keys["push"],
                "CONNECT_BASE_URL": server.url,
            },
        )
        os.close(inherited)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(30)
        os.close(self._reports)
        assert code == 0

    def kill_one(
        self, child: int, limit: int, durability: str, after: float, *, calls: int = 0, sender: str = "thread"
    ) -> int:
        """Begin a child and kill it ``after`` seconds, from when ``calls`` of its log calls have returned.

        How many are known to have returned in the end. Where its ``sender`` is a process that is killed, too, after
        half the time.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{child} {limit} {durability} {sender}\n")
        self._process.stdin.flush()
        pid = self._next(None)[0]
        returned = 0
        while returned < calls:
            returned += len(self._next(None))
        began = time.monotonic()
        while (left := began + after / 2 - time.monotonic()) > 0:
            returned += len(self._next(left))
        for each in senders_of(pid) if sender == "process" else ():
            self.senders_killed += 1
            os.kill(each, 9)  # its parent's, which lives, but for the moment after this one's look
        while (left := began + after - time.monotonic()) > 0:
            returned += len(self._next(left))
        os.kill(pid, 9)  # ours until its parent has collected it, which it does when it is dead
        while True:
            numbers = self._next(None)
            returned += len([number for number in numbers if number >= 0])
            if -1 in numbers:
                return returned

    def _next(self, timeout: float | None) -> list[int]:
        if not wait([self._reports], timeout):
            return []
        data = os.read(self._reports, 4 if timeout is None else 65_536)
        assert data, "the zygote has died"
        return [number for (number,) in struct.iter_unpack("<i", data)]


def senders_of(pid: int) -> list[int]:
    """The processes that send for the process ``pid``."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if b"connect_logging._sender" in (each / "cmdline").read_bytes():
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
                found += [int(each.name)] if parent == pid else []
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def deliver_the_rest(server: ServerProcess, spool: Path) -> dict[str, Any]:
    """What a last successor, which is not killed, does: its counts."""
    handler = ConnectHandler(server.project_id, server.keys["push"], server.url, spool=spool, timeout=60)
    deadline = time.monotonic() + 100
    while segments(spool) and time.monotonic() < deadline:
        handler.flush(1)
    handler.close()
    assert balanced(handler.stats())
    assert segments(spool) == []
    return handler.stats()


def check(server: ServerProcess, returned: dict[int, int]) -> tuple[int, int]:
    """Of all that is stored: how many events are lost, how many are there twice."""
    lost = twice = 0
    for child, count in returned.items():
        query = {"select": {"times": "count"}, "filter": {"child": child}, "groupBy": "n"}
        stored = Counter({row["n"]: row["times"] for row in server.query("things", query)})
        lost += len(set(range(count)) - set(stored))
        twice += stored.total() - len(stored)
        # The call that the kill has cut short may have got as far as the disk.
        assert set(stored) <= set(range(count + 1))
    return lost, twice


def test_row_15_killed_at_random_instants(serve: Serve, tmp_path: Path, figure: Any) -> None:
    server, spool, chance = serve(), tmp_path / "spool", random.Random(15)
    returned: dict[int, int] = {}
    with Zygote(server, spool) as zygote:
        for child in range(KILLS):
            limit = chance.choice([10, 100, 1_000, 3_000])
            durability = chance.choice(["process", "disk"])
            calls = chance.choice([0, 1, 10])  # a busy machine may take longer than the rest for the first
            returned[child] = zygote.kill_one(child, limit, durability, chance.uniform(0, 0.1), calls=calls)
    left = deliver_the_rest(server, spool)
    lost, twice = check(server, returned)
    total = sum(returned.values())
    assert total > KILLS
    assert (lost, twice) == (0, 0)
    assert (left["dropped"], left["rejected"]) == ({}, 0)
    figure("15", f"{KILLS} kills of a process, {total:,} events logged: lost {lost}, stored twice {twice}")


def test_row_15_killed_with_a_process_that_sends(serve: Serve, tmp_path: Path, figure: Any) -> None:
    """And that process killed before it, with batches under way."""
    server, spool, chance = serve(), tmp_path / "spool", random.Random(17)
    returned: dict[int, int] = {}
    kills = KILLS // 4 + 2
    with Zygote(server, spool) as zygote:
        for child in range(kills):
            durability = chance.choice(["process", "disk"])
            returned[child] = zygote.kill_one(child, 9_000, durability, chance.uniform(0.1, 1.0), sender="process")
    deliver_the_rest(server, spool)
    lost, twice = check(server, returned)
    total = sum(returned.values())
    assert zygote.senders_killed > 0
    assert (lost, twice) == (0, 0)
    figure(
        "15",
        f"{kills} kills of a process that has one to send, {zygote.senders_killed} of that, {total:,} events"
        f" logged: lost {lost}, stored twice {twice}",
    )


def test_row_15_killed_while_the_server_is_killed_too(serve: Serve, tmp_path: Path, figure: Any) -> None:
    server, spool, chance = serve(), tmp_path / "spool", random.Random(16)
    returned: dict[int, int] = {}
    outages = KILLS // 20 + 2
    with Zygote(server, spool) as zygote:
        for child in range(outages * 4):
            end_of_server = threading.Timer(chance.uniform(0, 0.1), server.kill)
            if child % 4 == 1:
                end_of_server.start()  # within this life; it is away during two more
            returned[child] = zygote.kill_one(child, 500, "process", chance.uniform(0, 0.1))
            if child % 4 == 3:
                server.restart()
            elif end_of_server.ident:
                end_of_server.join()
    deliver_the_rest(server, spool)
    lost, twice = check(server, returned)
    total = sum(returned.values())
    assert (lost, twice) == (0, 0)
    kills = f"{len(returned)} kills of a process, {outages} of the server"
    figure("15", f"{kills}, {total:,} events logged: lost {lost}, stored twice {twice}")
