"""Measures how long pushes take, at a steady pace, while something else happens."""

from __future__ import annotations

import http.client
import json
import threading
import time
from types import TracebackType
from typing import Self

from server_process import ServerProcess

INTERVAL = 0.005
"""Seconds from one push to the next, unless it takes longer."""


class Pace:
    """Pushes single events from a thread of its own for the length of a ``with`` block.

    ``seconds``: of each push. ``failures``: what those that failed were answered.
    """

    def __init__(self, server: ServerProcess, collection: str) -> None:
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._server = server
        self._collection = collection
        self._answered = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._push)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def __str__(self) -> str:
        return f"p50 {1_000 * self.at(0.5):.1f} ms, p99 {1_000 * self.at(0.99):.1f} ms of {len(self.seconds)}"

    def at(self, share: float) -> float:
        """The seconds within which so many pushes were answered."""
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))]

    def wait(self, count: int) -> None:
        """Until so many pushes have been answered."""
        with self._answered:
            assert self._answered.wait_for(lambda: len(self.seconds) >= count, 60)

    def _push(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        headers = self._server.headers()
        while not self._ended.wait(INTERVAL):
            began = time.perf_counter()
            connection.request("POST", f"/events/{self._collection}", json.dumps({"a": began}), headers)
            answer = connection.getresponse()
            body = answer.read()
            with self._answered:
                self.seconds.append(time.perf_counter() - began)
                self._answered.notify()
            if answer.status != 200:
                self.failures.append(body.decode())
        connection.close()


def metric(server: ServerProcess, name: str) -> float:
    """What the server says of itself; ``name`` with labels, as it stands in the text."""
    lines = server.request("GET", "/metrics", headers={}).text.splitlines()
    [value] = [line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name]
    return float(value)


def fill(server: ServerProcess, collection: str, count: int, batch: int = 5_000) -> None:
    """Store ``count`` nested events of some 200 bytes."""
    for start in range(0, count, batch):
        events = ",".join(
            f'{{"id":{number},"type":"purchase","price":{number % 1_000 / 4},"path":"/products/{number % 50}",'
            f'"customer":{{"name":"name{number}","country":"C{number % 200}","age":{number % 80}}},"tags":["a","b"]}}'
            for number in range(start, min(start + batch, count))
        )
        answer = server.request("POST", "/events", f'{{"{collection}":[{events}]}}'.encode())
        assert answer.status_code == 200
        assert b'"success":false' not in answer.content


HEAVY = {
    "select": {f"p{n}": {"percentile": {"property": ("customer.age", "price")[n % 2], "p": n}} for n in range(100)},
    "groupBy": ["customer.name", "path"],
}
"""A query that takes a second for 50,000 of these events; its answer is 413, once it is known."""
