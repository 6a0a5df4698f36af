"""What can go wrong with one request: faults for :meth:`oracle.Oracle.fail`.

A fault is called with the exchange that waits for its answer, so a test can also write its own as a function.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from oracle import Exchange, error_body


@dataclass(frozen=True)
class Status:
    """Answers with ``code`` and stores nothing, unless ``commit``.

    ``retry_after``: that header, as seconds, text or a datetime. ``location``: likewise.
    """

    code: int
    body: bytes = b'{"errorMessage": "as the test wants it"}'
    content_type: str = "application/json"
    retry_after: float | str | datetime | None = None
    location: str | None = None
    commit: bool = False

    def __call__(self, exchange: Exchange) -> None:
        if self.commit:
            exchange.commit()
        headers = {"Content-Type": self.content_type}
        if isinstance(self.retry_after, datetime):
            headers["Retry-After"] = format_datetime(self.retry_after, usegmt=True)
        elif self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.location is not None:
            headers["Location"] = self.location
        exchange.send(self.code, self.body, headers)


def html(code: int) -> Status:
    """The page of a proxy or of a captive portal."""
    return Status(code, b"<!doctype html><title>Hello</title>", "text/html")


@dataclass(frozen=True)
class Hang:
    """Takes the request and never answers. ``commit``: but stores its events."""

    commit: bool = False

    def __call__(self, exchange: Exchange) -> None:
        if self.commit:
            exchange.commit()
        exchange.hang()


@dataclass(frozen=True)
class Reset:
    """Resets the connection. ``commit``: after the events were stored, so that only the answer is lost."""

    commit: bool = True

    def __call__(self, exchange: Exchange) -> None:
        if self.commit:
            exchange.commit()
        exchange.reset()


@dataclass(frozen=True)
class Drip:
    """The honest answer at one byte in ``every`` seconds: from the first byte on, or ``headers_at_once``."""

    every: float = 1.0
    headers_at_once: bool = False

    def __call__(self, exchange: Exchange) -> None:
        def pace(answer: bytes) -> Iterator[bytes]:
            at_once = answer.index(b"\r\n\r\n") + 4 if self.headers_at_once else 0
            yield answer[:at_once]
            for at in range(at_once, len(answer)):
                yield answer[at : at + 1]
                exchange.pause(self.every)

        committed = exchange.commit()
        exchange.send(200, committed.body, successes=committed.successes, pace=pace)


@dataclass(frozen=True)
class TooLarge:
    """413 for a batch of more than ``events`` events or ``size`` bytes; an honest answer to others."""

    events: int = 5_000
    size: int = 1 << 30

    def __call__(self, exchange: Exchange) -> None:
        if len(exchange.events) > self.events or len(exchange.request.body) > self.size:
            exchange.send(413, error_body("the batch is too large"))
        else:
            exchange.answer()


def poisoned(event: dict[str, Any]) -> bool:
    """The mark that the next two faults look for: a true ``poison`` property."""
    return bool(event.get("poison"))


@dataclass(frozen=True)
class RefuseBatch:
    """``code`` for the whole of a batch that holds a poisoned event; an honest answer to others."""

    code: int = 400

    def __call__(self, exchange: Exchange) -> None:
        if any(poisoned(json.loads(payload)) for _, payload in exchange.events):
            exchange.send(self.code, error_body("there is a bad event in this batch"))
        else:
            exchange.answer()


@dataclass(frozen=True)
class RefuseEvents:
    """A result of ``success: false`` for every poisoned event, or for the first ``times`` that it comes."""

    times: int | None = None
    _come: Counter[object] = field(default_factory=Counter, compare=False, repr=False)

    def __call__(self, exchange: Exchange) -> None:
        exchange.answer(self._refusal)

    def _refusal(self, event: dict[str, Any]) -> str | None:
        if not poisoned(event):
            return None
        self._come[event["id"]] += 1
        return None if self.times is not None and self._come[event["id"]] > self.times else "poisoned"


def raw(*parts: bytes | float, ending: bool = True) -> Any:
    """A fault that sends ``parts`` as they are, with pauses where they are numbers; ``ending``: and then closes."""

    def answer(exchange: Exchange) -> None:
        for part in parts:
            if isinstance(part, bytes):
                exchange._connection.sendall(part)
            else:
                exchange.pause(part)
        if ending:
            raise OSError("the connection ends here")

    return answer
