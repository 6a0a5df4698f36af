"""uvicorn as this server uses it: each connection within bounds, looked after, and told of when it is refused."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from .connection import Connection, Limits
from .observing import Exchange
from .settings import Settings

_ACCEPTED_AT_ONCE: Final = 16
"""Connections that are accepted in one turn of the loop. They are counted in a later one, and those beyond the limit
closed in yet another: of a burst some times as many have a file descriptor that should not."""
_MAY_WAIT: Final = 2_048
"""Connections that the system holds until they are accepted."""


class HttpServer(uvicorn.Server):
    """Says when it accepts connections and when it has been told to stop, and has connections checked."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], object] = lambda: None,
        on_stop: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: object) -> None:
        """A signal asks to stop."""
        super().handle_exit(sig, frame)  # type: ignore[arg-type]
        self._on_stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_MAY_WAIT)  # asyncio knows one number for this and for what it accepts at once
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now)
        return await super().on_tick(counter)


def http_config(
    app: ASGIApp,
    settings: Settings,
    observers: Sequence[Callable[[Exchange], object]] = (),
    tls: Callable[[], ssl.SSLContext] | None = None,
) -> uvicorn.Config:
    """How ``app`` is served. ``observers``: told of requests that do not come to it. ``tls``: asked per connection."""
    return uvicorn.Config(
        app,
        http=partial(Connection, Limits(settings.max_connections, settings.client_timeout), observers),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.stop_timeout,
        backlog=_ACCEPTED_AT_ONCE,
        ssl_context_factory=(lambda *_: tls()) if tls else None,
    )
