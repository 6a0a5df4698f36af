"""Segment's analytics-python."""

from __future__ import annotations

import logging

from segment.analytics.client import Client

from . import ROOMY, Opened, Target


def track(target: Target) -> Opened:
    """``track`` for each record; its queue holds 10,000 by default."""
    client = Client("k", host=target.url, **({"max_queue_size": ROOMY} if target.is_enlarged else {}))
    return Opened(_Track(client), lambda _: client.shutdown())


class _Track(logging.Handler):
    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def emit(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        self._client.track("tom", values["collection"], values["event"])
