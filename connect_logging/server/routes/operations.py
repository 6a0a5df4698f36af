"""For those who run the server: ``GET /health``, ``GET /ready`` and ``GET /metrics``. None needs a key.

``/health`` answers while the process lives, ``/ready`` while requests should be sent to it. What ``/metrics`` tells
names no collection, project or key; where even the figures are nobody's business, it has an address of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from ..answers import RefusedError, document
from ..metrics import Metrics
from ..openapi import Answer, Description, Operation, json_content
from ..stores.base import Store, StoreError

READY_WITHIN: Final = 2.0
"""Seconds that the database has to answer."""

_TAG: Final = "Operations"


def _status(word: str) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {"status": {"const": word}},
        "required": ["status"],
        "additionalProperties": False,
    }


_HEALTH: Final = Description(
    id="health",
    tag=_TAG,
    summary="Whether the process lives",
    allows=None,
    answers={200: Answer("It does.", json_content(_status("alive"), {"status": "alive"}))},
)
_READY: Final = Description(
    id="ready",
    tag=_TAG,
    summary="Whether requests should be sent here",
    allows=None,
    answers={200: Answer("The database answers.", json_content(_status("ready"), {"status": "ready"}))},
    errors={503: f"The database does not answer within {READY_WITHIN:g} seconds, or the server is stopping."},
)
_METRICS: Final = Description(
    id="metrics",
    tag=_TAG,
    summary="What the server has done",
    details="Prometheus text, or OpenMetrics when `Accept` asks for it. 404 when it has an address of its own.",
    allows=None,
    answers={200: Answer("All metrics.", {"text/plain": {"schema": {"type": "string"}}})},
    errors={404: "It is served elsewhere."},
)


class OperationRoutes:
    """``metrics``: None when they are served elsewhere. ``is_stopping``: whether the server has been told to."""

    def __init__(self, store: Store, metrics: Metrics | None, is_stopping: Callable[[], bool]) -> None:
        self._store = store
        self._metrics = metrics
        self._is_stopping = is_stopping
        self._turn = anyio.CapacityLimiter(1)

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return [
            Operation("GET", "/health", self.health, _HEALTH),
            Operation("GET", "/ready", self.ready, _READY),
            Operation("GET", "/metrics", self.metrics, _METRICS),
        ]

    async def health(self, _: Request) -> Response:
        """200 as soon as there is a turn of the loop."""
        return document(b'{"status":"alive"}')

    async def ready(self, _: Request) -> Response:
        """200 once the database has answered."""
        if self._is_stopping():
            raise RefusedError(503, "the server is stopping")
        with anyio.move_on_after(READY_WITHIN) as waiting:
            # One at a time: of a database that hangs there is one thread to hang with it.
            await anyio.to_thread.run_sync(self._store.check, abandon_on_cancel=True, limiter=self._turn)
        if waiting.cancelled_caught:
            raise StoreError(f"the database did not answer within {READY_WITHIN:g} seconds")
        return document(b'{"status":"ready"}')

    async def metrics(self, request: Request) -> Response:
        """Everything that is counted."""
        if self._metrics is None:
            raise RefusedError(404, "the metrics have an address of their own")
        body, media_type = self._metrics.text(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media_type})
