"""For tests of what a spool survives: programs of their own that log into one, and that really end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pushing import CANARY

LONG = os.environ.get("CONNECT_FAULTS") == "long"
"""Whether the long versions are wanted (``make faults``)."""

PREAMBLE = """
import json, logging, os, signal, sys, threading, time
from connect_logging import ConnectClient, ConnectHandler
from connect_logging._journal import segment, spool

def make_handler(**options):
    handler = ConnectHandler(spool=os.environ["SPOOL"], **{"flush_interval": 0.01, **options})
    log.addHandler(handler)
    return handler

log = logging.getLogger("app")
log.setLevel(logging.DEBUG)

def log_events(start, count):
    for number in range(start, start + count):
        log.info("", extra={"collection": "things", "event": {"id": number}})

def say(*words):
    print(*words, flush=True)

def listen():
    return sys.stdin.readline().strip()

def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Program:
    """A script behind the preamble, in a process of its own, which works in ``directory``. Warnings are errors there.

    ``before``: what is to come before the preamble, and with it before the first import of ours.
    ``lives``: seconds, after which it is killed: a test that hangs leaves nothing behind.
    """

    def __init__(
        self,
        script: str,
        directory: Path,
        spool: Path,
        base_url: str,
        *,
        api_key: str = CANARY,
        project_id: str = "project",
        before: str = "",
        lives: float = 100.0,
    ) -> None:
        path = directory / f"script{len(list(directory.glob('script*.py')))}.py"
        path.write_text(before + PREAMBLE + script)
        self._errors = path.with_suffix(".stderr")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=directory,
                env={
                    **os.environ,
                    "CONNECT_PROJECT_ID": project_id,
                    "CONNECT_API_KEY": api_key,
                    "CONNECT_BASE_URL": base_url,
                    "SPOOL": str(spool),
                },
            )
        self._watchdog = threading.Timer(lives, self._process.kill)
        self._watchdog.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def err(self) -> str:
        return self._errors.read_text()

    def hear(self) -> str:
        """The next line that it prints; empty when it has ended."""
        return _stream(self._process.stdout).readline().strip()

    def tell(self, line: str) -> None:
        """A line for its ``listen()``."""
        stdin = _stream(self._process.stdin)
        stdin.write(f"{line}\n")
        stdin.flush()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self._process.wait()
        self._watchdog.cancel()
        for stream in (self._process.stdin, self._process.stdout):
            _stream(stream).close()
        return code

    def run(self) -> list[str]:
        """What it printed until its end, which must be a good one, and silent."""
        printed = _stream(self._process.stdout).read().splitlines()
        code = self.wait()
        assert (code, self.err) == (0, ""), (code, self.err)
        return printed

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it as a crash would, unless it has ended; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.wait()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@contextmanager
def ended(*programs: Program) -> Iterator[None]:
    """None of ``programs`` outlives the block."""
    try:
        yield
    finally:
        for program in programs:
            program.kill()


def until(happened: Callable[[], object], timeout: float = 20.0) -> None:
    """Return once ``happened()``: for what no event tells, as a file's appearance."""
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.005)


def owned(spool: Path) -> bool:
    """Whether a process has a file of the journal in ``spool``: one that was killed lets go of them a moment later."""
    for path in segments(spool):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def segments(spool: Path) -> list[Path]:
    """The journal's files in ``spool``."""
    return sorted(spool.glob("*.journal"))
