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

from .app import make_app
from .backing import backing_of
from .http_server import HttpServer, http_config
from .projects import Projects
from .settings import Settings


class InProcess(NamedTuple):
    """A running server: its base URL, and its projects."""

    url: str
    projects: Projects


@contextmanager
def running(data: Path) -> Iterator[InProcess]:
    """Serve the data directory ``data`` on a free port of 127.0.0.1 while the block lasts. Raises ConnectError."""
    settings = Settings(data, port=0, stop_timeout=1)
    with (
        backing_of(settings) as backing,
        # It listens from here on: what comes before the thread is ready waits for it.
        closing(socket.create_server((settings.host, settings.port), backlog=128)) as listener,
        ExitStack() as opened,
    ):
        server = HttpServer(http_config(make_app(settings, backing, opened=opened), settings))
        thread = threading.Thread(target=server.run, args=([listener],), name="connect-logging-server", daemon=True)
        thread.start()
        try:
            yield InProcess(f"http://{settings.host}:{listener.getsockname()[1]}", backing.projects)
        finally:
            server.should_exit = True
            thread.join()
