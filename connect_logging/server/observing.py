"""What is told of requests, and the middleware that tells it once their answers have ended. Plain ASGI."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_LEFT: Final = 499
"""The status of a request whose client left before it was answered."""
_FAILED: Final = 500

ReadOutcome: TypeAlias = Literal["answered", "failed", "refused", "stopped", "timed_out"]
"""What can become of what a request reads from the store. refused: there was no turn for it in time."""

TransferKind: TypeAlias = Literal["import", "export"]
TransferOutcome: TypeAlias = Literal["complete", "failed"]


class Exchange(NamedTuple):
    """A request and what became of it.

    ``route``: the template of its path, None when there is no such route. ``received`` and ``sent``: bytes of the
    bodies. ``client``: its address. ``project``: the one whose key it had, None when it had none.
    """

    method: str
    route: str | None
    path: str
    status: int
    seconds: float
    received: int
    sent: int
    client: str | None
    project: str | None


class Observing:
    """Stands where the scope that it passes on is the one in which the app leaves its route and state.

    ``observers`` must not raise or block.
    """

    def __init__(self, app: ASGIApp, observers: Sequence[Callable[[Exchange], object]]) -> None:
        self._app = app
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and tell."""
        began = time.perf_counter()
        status = received = sent = 0
        left = False

        async def receive_and_count() -> Message:
            nonlocal received, left
            message = await receive()
            received += len(message.get("body", b""))
            left = left or message["type"] == "http.disconnect"
            return message

        async def send_and_count(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start" and not left:
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive_and_count, send_and_count)
        finally:
            exchange = Exchange(
                scope["method"],
                getattr(scope.get("route"), "path", None),
                scope["path"],
                status or (CLIENT_LEFT if left else _FAILED),
                time.perf_counter() - began,
                received,
                sent,
                scope["client"][0] if scope.get("client") else None,
                scope.get("state", {}).get("project"),
            )
            for observe in self._observers:
                observe(exchange)
