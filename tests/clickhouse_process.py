"""The façade of ClickHouse in a process of its own, for whatever must not share one with chdb.

Run as ``python -m clickhouse_process DIRECTORY PORT`` it prints its port when it is ready, then does what it reads:
pickled names of the façade's methods and their arguments, one after another, each answered by a line. It ends with its
input, and so with the process that began it.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from clickhouse_facade import ClickHouseFacade, Fault
from clickhouse_http import PASSWORD, USER


class FacadeProcess:
    """A façade over the database in ``path``, with its methods and its ``port`` and ``address``."""

    def __init__(self, path: Path, port: int = 0) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clickhouse_process", str(path), str(port)],
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.address = self.address_of("default")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fail(self, fault: Fault, times: int | None = 1, of: str = "") -> None:
        """As :meth:`ClickHouseFacade.fail`; only with faults that can be pickled."""
        self._tell("fail", fault, times, of)

    def heal(self) -> None:
        """As :meth:`ClickHouseFacade.heal`."""
        self._tell("heal")

    def refuse(self) -> None:
        """As :meth:`ClickHouseFacade.refuse`."""
        self._tell("refuse")

    def listen(self) -> None:
        """As :meth:`ClickHouseFacade.listen`."""
        self._tell("listen")

    def wait_for(self, pattern: str, times: int = 1) -> None:
        """As :meth:`ClickHouseFacade.wait_for`."""
        self._tell("wait_for", pattern, times)

    def count(self, pattern: str) -> int:
        """As :meth:`ClickHouseFacade.count`."""
        return int(self._tell("count", pattern))

    def address_of(self, database: str) -> str:
        """For ``--store``, with the password."""
        return f"clickhouse://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def close(self) -> None:
        """End it. Idempotent."""
        if self._process.poll() is None:
            self._process.communicate()

    def _tell(self, name: str, *arguments: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            pickle.dump((name, arguments), self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def main(path: str, port: str) -> None:
    """Serve until the input ends."""
    with ClickHouseFacade(Path(path), int(port)) as facade:
        print(facade.port, flush=True)
        while True:
            try:
                name, arguments = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                answer = getattr(facade, name)(*arguments)
            except AssertionError as error:
                answer = error
            pickle.dump(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
