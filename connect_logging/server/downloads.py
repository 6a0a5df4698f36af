"""Answers whose body is made piece by piece, by code that blocks: never more of it in memory than a piece.

Invariants: the next piece is made when the client has taken the last; what fails before the first piece is answered
like any failure, and what fails later breaks the body off, so that no client can take it for whole (its last chunk is
missing); when the client goes or the server stops, the making of pieces is stopped, and ended before the answer is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Generator, Mapping
from typing import Final, TypeAlias

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .answers import RefusedError
from .stores.base import StoppedError, StoreError
from .threads import finish, let_go

Pieces: TypeAlias = Generator[bytes, None, None]

_BUSY: Final = RefusedError(503, "too many downloads at a time: try again later", {"Retry-After": "5"})

_log = logging.getLogger(__name__)


class Downloads:
    """``most``: downloads at a time. ``makers``: threads that make their pieces."""

    def __init__(self, most: int, makers: int) -> None:
        self.places = anyio.CapacityLimiter(most)
        self.makers = anyio.CapacityLimiter(makers)

    def answer(
        self, pieces: Pieces, stopped: threading.Event, media_type: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """200 with ``pieces``, which end soon after ``stopped`` is set."""
        return _Download(self, pieces, stopped, media_type, headers)


class _Download(Response):
    def __init__(
        self,
        downloads: Downloads,
        pieces: Pieces,
        stopped: threading.Event,
        media_type: str,
        headers: Mapping[str, str] | None,
    ) -> None:
        super().__init__(None, headers=headers, media_type=media_type)
        del self.headers["content-length"]
        self._downloads = downloads
        self._pieces = pieces
        self._stopped = stopped

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            self._downloads.places.acquire_on_behalf_of_nowait(self)
        except anyio.WouldBlock:
            raise _BUSY from None
        watching = asyncio.create_task(_watch(receive, self._stopped))
        try:
            await self._send(send, is_wanted=scope["method"] != "HEAD")
        finally:
            self._downloads.places.release_on_behalf_of(self)
            watching.cancel()
            self._stopped.set()
            await finish(anyio.to_thread.run_sync(self._pieces.close))

    async def _send(self, send: Send, is_wanted: bool) -> None:
        try:
            piece = await self._next()
        except StoppedError:
            raise ClientDisconnect from None
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            while piece is not None and is_wanted:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await self._next()
        except StoppedError as error:
            let_go(error)
            return
        except StoreError as error:
            _log.warning("a download was broken off: %s", error)
            let_go(error)
            return
        await send({"type": "http.response.body", "body": b""})

    async def _next(self) -> bytes | None:
        making = anyio.to_thread.run_sync(next, self._pieces, None, limiter=self._downloads.makers)
        return await finish(making, self._stopped.set)


async def _watch(receive: Receive, stopped: threading.Event) -> None:
    """Stop when the client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stopped.set()
