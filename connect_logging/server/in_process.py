"""The server in a thread of the process that uses it: for tests of programs that log. Plain HTTP, no signals, no log.

Invariants: a request that is made once the block has begun is answered; when it has ended there is no thread, no
socket and no open file of the server.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn

from .app import make_app
from .data_directory import DataDirectory
from .projects import ProjectFile
from .settings import Settings
from .stores.duckdb import DuckDBStore


class InProcess(NamedTuple):
    """A running server: its base URL, and its projects."""

    url: str
    projects: ProjectFile


@contextmanager
def running(data: Path) -> Iterator[InProcess]:
    """Serve the data directory ``data`` on a free port of 127.0.0.1 while the block lasts. Raises ConnectError."""
    settings = Settings(data, port=0, stop_timeout=1)
    directory = DataDirectory(data, create=True)
    with (
        closing(directory.lock()),
        closing(_store(settings, directory)) as store,
        # It listens from here on: what comes before the thread is ready waits for it.
        closing(socket.create_server((settings.host, settings.port), backlog=128)) as listener,
        ExitStack() as opened,
    ):
        projects = ProjectFile(directory.projects_file)
        config = uvicorn.Config(
            make_app(settings, projects, store, opened=opened),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=settings.stop_timeout,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="connect-logging-server", daemon=True)
        thread.start()
        try:
            yield InProcess(f"http://{settings.host}:{listener.getsockname()[1]}", projects)
        finally:
            server.should_exit = True
            thread.join()


def _store(settings: Settings, directory: DataDirectory) -> DuckDBStore:
    return DuckDBStore(
        directory.events_file,
        memory_limit=settings.memory_limit,
        threads=settings.threads,
        query_timeout=settings.query_timeout,
        max_waiting=settings.max_waiting_bytes,
    )
