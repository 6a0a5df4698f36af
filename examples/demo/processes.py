"""The server and the shop as processes of their own, which end with the demo whatever happens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotReadyError
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from connect_logging.exceptions import ConnectError

SHOP: Final = Path(__file__).parent.parent / "shop"

_START: Final = 30.0
"""Seconds that a process may take until it is ready."""
_STOP: Final = 15.0
"""Seconds that a process may take to stop when it is asked to."""
_LAST_LINES: Final = 8
"""Shown of a process that did not start."""


class DemoError(ConnectError):
    """The demo cannot go on; the message says why."""


class Program:
    """A process that says on its output when it is ready.

    ``ready``: a pattern of that line, whose group is its address. ``log``: the file its output is kept in.
    """

    def __init__(
        self, name: str, command: list[str], ready: str, log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = log
        self._ready = re.compile(ready)
        self._address: Future[str] = Future()
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=log.parent,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
        )
        self._reader = Thread(target=self._read, name=f"output of the {name}")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is not None:
            self._reader.join()
        elif error is None:
            self.stop()
        else:
            self.kill()  # the demo has failed or was stopped: nobody waits for what is left

    def address(self) -> str:
        """Where it listens, once it does. Raises DemoError."""
        try:
            return self._address.result(_START)
        except NotReadyError:
            raise DemoError(f"the {self.name} was not ready after {_START:.0f} seconds") from None

    def stop(self) -> None:
        """Ask it to stop, and end it when it does not."""
        self._process.terminate()
        try:
            self._process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def said(self, pattern: str) -> str | None:
        """The group of ``pattern`` where it is first found in the output."""
        found = re.search(pattern, self._log.read_text(encoding="utf-8"))
        return found[1] if found else None

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output, self._log.open("a", encoding="utf-8") as log:
            last: list[str] = []
            for line in output:
                log.write(line)
                last = [*last[1 - _LAST_LINES :], line.rstrip()]
                if not self._address.done() and (found := self._ready.search(line)):
                    self._address.set_result(found[1])
        if not self._address.done():
            self._address.set_exception(DemoError("\n".join([f"the {self.name} did not start:", *last])))


def start_server(data: Path, port: int = 0) -> Program:
    """``connect-logging serve`` on ``data``; its log is beside it."""
    command = ["-m", "connect_logging.cli", "serve", "--data", str(data), "--port", str(port)]
    return Program("server", command, r"^Serving on (\S+)", data.with_name("server.log"))


def read_project(data: Path) -> dict[str, str]:
    """The id and the keys of the server's project, as ``connect-logging project keys`` tells them."""
    command = [sys.executable, "-m", "connect_logging.cli", "project", "keys", "--data", str(data), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"the keys cannot be read: {done.stderr.strip()}")
    keys: dict[str, str] = json.loads(done.stdout)
    return keys


def start_shop(directory: Path, environ: Mapping[str, str]) -> Program:
    """The shop, as its README starts it. Its log, and dead letters if there are any, are in ``directory``."""
    options = ["--app-dir", str(SHOP), "--log-config", str(SHOP / "logging.json"), "--no-access-log", "--port", "0"]
    log = directory / "shop.log"
    return Program("shop", ["-m", "uvicorn", "shop:app", *options], r"running on (http://\S+)", log, environ)


def read_stats(shop: Program) -> dict[str, Any]:
    """What the shop's handler had counted when the shop closed. Raises DemoError when it did not say so."""
    said = shop.said(r"INFO shop: events: (\{.*\})")
    if said is None:
        raise DemoError("the shop did not close as it should: see shop.log (--keep keeps it)")
    stats: dict[str, Any] = json.loads(said)
    return stats
