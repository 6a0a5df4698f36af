"""What happens to every request before it is routed, and to every answer, errors included. Plain ASGI."""

from __future__ import annotations

import asyncio
import re
from typing import Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._types import Clock
from .answers import RefusedError, error_message

MIN_RATE: Final = 8_192
"""Bytes a second below which a client that sends or takes a lot is given up."""
_SLASHES = re.compile(rb"/{2,}")
CORS_HEADERS: Final[list[tuple[bytes, bytes]]] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Location, Retry-After, X-Connect-Duplicate"),
    # RFC 7694: what a request's body may be encoded with.
    (b"accept-encoding", b"gzip"),
]
_PREFLIGHT: Final[list[tuple[bytes, bytes]]] = [
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"X-Project-Id, X-Api-Key, Content-Type, Accept, Content-Encoding, Authorization, If-None-Match",
    ),
    (b"access-control-max-age", b"86400"),
    (b"content-type", b"application/json"),
    (b"content-length", b"0"),
]


class CrossOrigin:
    """Lets pages of any origin ask, and answers every OPTIONS itself: browsers send no key with it.

    A wildcard is safe here, as nothing rests on cookies; and without the headers an error is opaque to a page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with our headers added to the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 200, "headers": CORS_HEADERS + _PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *CORS_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class PlainPaths:
    """Reads paths as the SDKs write them: a doubled slash is one, ``+`` is a space, ``%2B`` is a plus."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the path as it was meant."""
        if scope["type"] == "http":
            raw = _SLASHES.sub(b"/", scope["raw_path"])
            # What is not UTF-8 becomes U+FFFD, which no collection's name may hold.
            path = unquote(raw.replace(b"+", b" ").decode("ascii", "replace"))
            scope = {**scope, "raw_path": raw, "path": path}
        await self._app(scope, receive, send)


class BodyInTime:
    """Gives a client ``grace`` seconds for the body of its request, and one more for each ``MIN_RATE`` bytes of it.

    The time counts while the app waits for the client, and not while the client waits for the app. A late one is
    answered 408, if the answer has not begun; ``clock``: monotonic seconds.
    """

    def __init__(self, app: ASGIApp, grace: float, clock: Clock) -> None:
        self._app = app
        self._grace = grace
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with a bound to how long the body may take."""
        waited, received, is_whole = 0.0, 0, False

        async def receive_in_time() -> Message:
            nonlocal waited, received, is_whole
            if is_whole:
                return await receive()  # it tells when the client goes
            began = self._clock()
            try:
                async with asyncio.timeout(self._grace + received / MIN_RATE - waited):
                    message = await receive()
            except TimeoutError:
                raise RefusedError(408, "the body is sent too slowly", {"Connection": "close"}) from None
            waited += self._clock() - began
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time if scope["type"] == "http" else receive, send)


class CutOff:
    """Answers what is cut off because the server stops: then the task of a request is cancelled."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, to the end or until it is cut off."""
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:  # nothing is left to be done in this task
            if not begun and scope["type"] == "http":
                await error_message(503, "the server is stopping")(scope, receive, send)
