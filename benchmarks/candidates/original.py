"""The original Connect client, connect-client 0.1.1 of 2015: the package itself, which has no logging handler.

It completes the caller's dict in place and would find it completed at the next call, hence the copy.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

from connect.client import ConnectClient

from . import COLLECTION, Opened, Target

_BATCH = 5_000


def single(target: Target) -> Opened:
    """A push per record, on its two threads."""
    return _opened(_Single(_client(target)))


def batches(target: Target) -> Opened:
    """5,000 records are gathered, and pushed as one batch."""
    return _opened(_Batches(_client(target)))


def _client(target: Target) -> Any:
    return ConnectClient("p", "k", base_url=target.url)


def _opened(handler: _Batches | _Single) -> Opened:
    return Opened(handler, lambda _: handler.finish())


class _Single(logging.Handler):
    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client

    def emit(self, record: logging.LogRecord) -> None:
        self._client.push_event(COLLECTION, dict(record.__dict__["event"]))

    def finish(self) -> None:
        self._client._executor.shutdown(wait=True)


class _Batches(_Single):
    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._gathered: list[dict[str, Any]] = []
        self._futures: list[Future[Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._gathered.append(dict(record.__dict__["event"]))
        if len(self._gathered) >= _BATCH:
            self._push()

    def finish(self) -> None:
        if self._gathered:
            self._push()
        super().finish()

    def _push(self) -> None:
        self._futures.append(self._client.push_events({COLLECTION: self._gathered}))
        self._gathered = []
