"""PostHog's library."""

from __future__ import annotations

import logging

from posthog import Posthog

from . import ROOMY, Opened, Target


def capture(target: Target) -> Opened:
    """``capture`` for each record; its queue holds 10,000 by default."""
    client = Posthog("k", host=target.url, **({"max_queue_size": ROOMY} if target.is_enlarged else {}))

    def finish(seconds: float) -> None:
        client.flush(timeout_seconds=seconds)
        client.shutdown()

    return Opened(_Capture(client), finish)


class _Capture(logging.Handler):
    def __init__(self, client: Posthog) -> None:
        super().__init__()
        self._client = client

    def emit(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        self._client.capture(values["collection"], distinct_id="tom", properties=values["event"])
