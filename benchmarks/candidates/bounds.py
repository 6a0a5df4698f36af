"""Bounds: what cannot be left out, and nothing else.

``limit``: a snapshot of each event in its final bytes (encoded, with an id and a timestamp), and batches of 5,000
posted by ``requests`` from inside the log call. It checks no event, keeps no count, survives nothing, and its caller
waits for the network. ``written``, ``checked``: what a journal does for each record, in one function, without and with
a look at whether the event is valid.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from time import gmtime, strftime
from typing import Any
from zlib import crc32

import msgspec
import requests
import uuid_utils

from connect_logging._journal.framing import HEAD, MAGIC
from connect_logging._shapes import look_at_shape

from . import COLLECTION, EVENT, Opened, Target

_BATCH = 5_000
_TIME = Struct("<d")


def limit(target: Target) -> Opened:
    """Posts at every 5,000th call."""
    handler = _Limit(target.url)
    return Opened(handler, lambda _: handler.post())


def written(target: Target) -> Opened:
    """Encode, frame, write."""
    return _bare(target.directory, lambda _: True)


def checked(target: Target) -> Opened:
    """Check, encode, frame, write."""
    look = look_at_shape(EVENT)
    assert look is not None
    return _bare(target.directory, look)


def _bare(directory: Path, check: Callable[[dict[str, Any]], bool]) -> Opened:
    handler = _Bare(directory / "bare", check)
    return Opened(handler, lambda _: handler.close())


class _Limit(logging.Handler):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = f"{url}/events"
        self._encode = msgspec.json.Encoder().encode
        self._second, self._text = -1.0, ""
        self._bodies: list[bytes] = []
        self._session = requests.Session()
        self._session.trust_env = False

    def createLock(self) -> None:
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        created = record.created
        if created // 1.0 != self._second:
            self._second = created // 1.0
            self._text = strftime("%Y-%m-%dT%H:%M:%S.", gmtime(created))
        head = '{"id":"%s","timestamp":"%s%06dZ",' % (uuid_utils.uuid7(), self._text, created % 1.0 * 1e6)  # noqa: UP031
        self._bodies.append(head.encode() + self._encode(record.__dict__["event"])[1:])
        if len(self._bodies) >= _BATCH:
            self.post()
        return True

    def post(self) -> None:
        if self._bodies:
            body = b'{"%b":[%b]}' % (COLLECTION.encode(), b",".join(self._bodies))
            self._bodies.clear()
            answer = self._session.post(self._url, data=body, headers={"Content-Type": "application/json"})
            assert all(result["success"] for result in msgspec.json.decode(answer.content)[COLLECTION])


class _Bare(logging.Handler):
    def __init__(self, path: Path, check: Callable[[dict[str, Any]], bool]) -> None:
        super().__init__()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._end = 0
        self._check = check
        self._encode = msgspec.json.Encoder().encode
        self._mutex = threading.RLock()

    def createLock(self) -> None:
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        event = record.__dict__["event"]
        if self._check(event):
            body = self._encode(event)
            time = _TIME.pack(record.created)
            framed = b"".join((HEAD.pack(MAGIC, 8 + len(body), crc32(body, crc32(time))), time, body))
            with self._mutex:
                start = self._end
                self._end += len(framed)
                os.pwrite(self._file, framed, start)
        return True

    def close(self) -> None:
        os.close(self._file)
        super().close()
