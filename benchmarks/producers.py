"""What the benchmarks of the server share: events, those who send them, and what the server used meanwhile."""

from __future__ import annotations

import http.client
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from connect_logging.event import new_id

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from server_process import ServerProcess as ServerProcess  # for the others here

COLLECTION: Final = "events"
_COUNTRIES: Final = ("AU", "DE", "FR", "JP", "NZ", "US")


class Pushed(Protocol):
    """What is pushed to, on this machine."""

    port: int

    def headers(self) -> dict[str, str]:
        """Of a push."""
        ...


def make_event(number: int) -> str:
    """A purchase of about 200 bytes, nested; its id is time-ordered, as those of our client are."""
    return (
        f'{{"id":"{new_id()}","timestamp":"2026-11-23T12:00:{number % 60:02d}.{number % 1_000_000:06d}Z",'
        f'"type":"purchase","price":{34.95 + number % 100:.2f},'
        f'"customer":{{"country":"{_COUNTRIES[number % 6]}","age":{number % 80}}},'
        f'"path":"/products/{number % 50}","tags":["a","b"]}}'
    )


def make_bodies(events: Sequence[str], batch: int) -> list[bytes]:
    """``events`` as the bodies of pushes of ``batch`` each."""
    return [
        f'{{"{COLLECTION}":[{",".join(events[start : start + batch])}]}}'.encode()
        for start in range(0, len(events), batch)
    ]


def send(server: Pushed, bodies: Iterable[bytes], connections: int) -> float:
    """Push ``bodies`` over so many connections, each of whose events must be new; the seconds that it took."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in bodies:
        waiting.put(body)
    failed: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        headers = server.headers()
        while not failed:
            try:
                body = waiting.get_nowait()
            except queue.Empty:
                break
            connection.request("POST", "/events", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200 or b'"success":false' in text or b'"duplicate":true' in text:
                failed.append(f"{answer.status} {text[:200]!r}")
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - begin
    if failed:
        raise RuntimeError(f"a push failed: {failed[0]}")
    return spent


class Used(NamedTuple):
    """By a process so far: seconds of processor time, and the most memory it has had, in MiB. Linux tells."""

    cpu: float
    peak: float

    @classmethod
    def by(cls, pid: int) -> Used:
        """Read them."""
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(after_name[11]) + int(after_name[12])
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return cls(ticks / os.sysconf("SC_CLK_TCK"), int(status["VmHWM"].split()[0]) / 1024)
