"""A bound for the server: its reading and storing of batches, behind the least HTTP that there can be.

    with BareServer(directory) as server:
        server.port; server.headers()

It looks at no path, key or bound, counts nothing, and knows one way to be sent a body. What small batches come to here
is left of the rate of large ones before there is a server: checking, storing and answering each.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from connect_logging.server.ingest import Ingest
from connect_logging.server.serve import set_the_interpreter
from connect_logging.server.settings import Settings
from connect_logging.server.stores.duckdb import DuckDBStore

_PROJECT: Final = "5f2c0a9be1d84c7fa36b1e0d"


class BareServer:
    """Starts the process, whose events are in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(directory)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def headers(self) -> dict[str, str]:
        """As many as the real one is sent."""
        return {"X-Project-Id": _PROJECT, "X-Api-Key": "k" * 32, "Content-Type": "application/json"}


class _Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) == int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0]):
            self._received = b""
            self._task = asyncio.ensure_future(self._answer(body))

    async def _answer(self, body: bytes) -> None:
        answer = await self._ingest.push_batch(_PROJECT, body)
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)


async def _serve(directory: Path) -> None:
    settings = Settings(directory)
    store = DuckDBStore(
        directory / "events.duckdb",
        memory_limit=settings.memory_limit,
        threads=settings.threads,
        query_timeout=settings.query_timeout,
        max_waiting=settings.max_waiting_bytes,
    )
    ingest = Ingest(store, time.time)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(ingest), "127.0.0.1", 0, backlog=1_000)
    set_the_interpreter()
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
