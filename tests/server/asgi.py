"""Asks an ASGI app in this process, exactly as the protocol between server and app has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope


class Answer(NamedTuple):
    """What the app sent; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def ask(
    app: ASGIApp,
    method: str,
    target: str,
    body: Sequence[bytes] = (b"",),
    headers: Mapping[str, str] | None = None,
    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
) -> Answer:
    """Send a request whose body comes in several pieces. ``target``: path and query as they are on the wire.

    ``run``: that of an event loop which is kept, for many requests.
    """
    path, _, query = target.partition("?")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 9),
    }
    pieces = list(body)
    sent: list[Message] = []

    async def receive() -> Message:
        if not pieces:  # the body is whole, and the client stays
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    async def request() -> None:
        # Starlette answers an unforeseen error, then raises it again for the server's log.
        try:
            await app(scope, receive, send)
        except Exception:
            if not sent:
                raise

    run(request())
    start, *bodies = sent
    found = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(message.get("body", b"") for message in bodies))
