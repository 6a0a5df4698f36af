"""What happens to every request before it is routed, and to every answer, errors included. Plain ASGI."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
        raw = scope["raw_path"]
        if b"//" in raw or b"+" in raw:
            raw = _SLASHES.sub(b"/", raw)
            # What is not UTF-8 becomes U+FFFD, as it has in other paths; no collection's name may hold it.
            path = unquote(raw.replace(b"+", b" ").decode("ascii", "replace"))
            scope = {**scope, "raw_path": raw, "path": path}
        await self._app(scope, receive, send)
