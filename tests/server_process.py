"""The real server in a process of its own, for tests: started, asked, killed, and started again on the same data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from connect_logging.server.backing import projects_at
from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address


class ServerProcess:
    """A running ``connect-logging serve``.

    ``url``, ``project_id``, ``keys`` (push, query, push_query, master), ``data`` (its directory), ``port``,
    ``output`` (what it printed until it was ready).
    ``options``: further command line options. ``store``: a ClickHouse's address, with its password, that it keeps
    everything in; there is no directory then, and several servers may have the same.
    """

    def __init__(self, data: Path, port: int = 0, options: Sequence[str] = (), store: str | None = None) -> None:
        self.data = data
        self._place = data if store is None else parse_address(store)
        self._options = tuple(options)
        self._errors = data.with_name(f"{data.name}.stderr")
        self._start(port)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def errors(self) -> str:
        """What it has written to stderr, since its first start."""
        return self._errors.read_text()

    def headers(self, role: str = "master") -> dict[str, str]:
        """The two headers for a key."""
        return {"X-Project-Id": self.project_id, "X-Api-Key": self.keys[role]}

    def request(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> requests.Response:
        """Send ``body`` (bytes as they are, anything else as JSON), with the master key unless ``headers`` say."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return requests.request(
            method,
            self.url + path,
            data=data,
            headers=self.headers() if headers is None else headers,
            timeout=30,
            **more,
        )

    def push(self, collection: str, *events: Any) -> None:
        """Store ``events``, of which each must succeed."""
        results = self.request("POST", "/events", {collection: events}).json()[collection]
        assert all(result["success"] for result in results), results

    def query(self, collection: str, document: Any) -> list[dict[str, Any]]:
        """The rows that answer a query."""
        answer = self.request("GET", f"/events/{collection}", params={"query": json.dumps(document)})
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def count(self, collection: str) -> int:
        """How many events ``collection`` holds."""
        found: int = self.query(collection, {"select": {"n": "count"}})[0]["n"]
        return found

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit code."""
        return self._end(number)

    def restart(self, port: int | None = None) -> None:
        """Start it again on the same data, and the same port unless ``port`` is given (0: a free one)."""
        self.kill()
        self._start(self.port if port is None else port)

    def _start(self, port: int) -> None:
        place = ["--data", str(self.data)]
        environ = {**os.environ, "PYTHONWARNINGS": "error"}
        if isinstance(self._place, ClickHouseAddress):
            place = ["--store", str(self._place)]
            environ["CONNECT_CLICKHOUSE_PASSWORD"] = self._place.password
        command = [sys.executable, "-m", "connect_logging.cli", "serve", *place]
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, "--port", str(port), *self._options],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environ,
            )
        assert self._process.stdout is not None
        self.output = ""
        for line in self._process.stdout:
            self.output += line
            if line.startswith("Serving on "):
                self.url = line.split()[-1]
                break
        else:
            code = self._end(signal.SIGKILL)
            raise RuntimeError(f"the server did not start (exit code {code}): {self.errors}")
        self.port = int(self.url.rpartition(":")[2])
        with projects_at(self._place, create=False) as projects:
            [project, *_] = projects.list()
        self.project_id = project.id
        self.keys = {name: getattr(project.keys, name) for name in ("push", "query", "push_query", "master")}

    def _end(self, number: int) -> int:
        """Signal our own process, unless it has ended, and collect it."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code
