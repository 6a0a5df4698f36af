"""The server as a process: it takes a data directory, listens, and leaves nothing half done when it is told to stop.

Invariants: the ready line is printed once connections are accepted; after SIGTERM or SIGINT accepted requests finish,
then the database is closed, then the process ends normally.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial

import uvicorn

from ..exceptions import ConnectError
from .app import make_app
from .connection import Connection, Limits
from .data_directory import DataDirectory
from .projects import Project, ProjectFile
from .settings import Settings
from .stores.duckdb import DuckDBStore


class AddressError(ConnectError):
    """The address cannot be listened on; the message says why."""


def serve(settings: Settings, *, on_ready: Callable[[str], None], on_first_project: Callable[[Project], None]) -> None:
    """Serve until SIGTERM or SIGINT; on the main thread.

    ``on_ready`` is called with the base URL once requests are accepted, ``on_first_project`` before that when the
    data directory had no project yet. Raises ConnectError when the server cannot start: the directory, the address,
    the database.
    """
    os.umask(0o077)  # DuckDB makes its files with the mode that the process gives
    directory = DataDirectory(settings.data, create=True)
    with closing(directory.lock()), closing(_listen(settings.host, settings.port)) as listener:
        projects = ProjectFile(directory.projects_file)
        store = DuckDBStore(
            directory.events_file,
            memory_limit=settings.memory_limit,
            threads=settings.threads,
            query_timeout=settings.query_timeout,
            max_waiting=settings.max_waiting_bytes,
        )
        with closing(store):
            first = projects.create_first()
            if first:
                on_first_project(first)
            app = make_app(settings, projects, store)
            config = uvicorn.Config(
                app,
                http=partial(Connection, Limits(settings.max_connections, settings.client_timeout)),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
                timeout_keep_alive=75,
                timeout_graceful_shutdown=settings.stop_timeout,
            )
            _run(_Server(config, lambda: on_ready(_url(settings.host, listener))), listener)


class _Server(uvicorn.Server):
    """Says when it accepts connections, and has them checked."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # every second
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now)
        return await super().on_tick(counter)


def _run(server: _Server, listener: socket.socket) -> None:
    """Run to the end. A signal before uvicorn's own handlers, or raised by it once more at the end, asks to stop.

    Handlers, as signals that are set to SIG_IGN would be ignored in child processes as well.
    """

    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # A port whose last connections are still being closed down is free; one that is listened on is not.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2_048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise AddressError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    return listener


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
