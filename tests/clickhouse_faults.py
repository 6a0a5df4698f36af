"""What can go wrong with one statement: faults for :meth:`clickhouse_facade.ClickHouseFacade.fail`.

A fault is called with the exchange that waits for its answer, so a test can also write its own as a function.
``commit``: the statement is run all the same, so that only its answer is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from clickhouse_engine import EngineError
from clickhouse_facade import Answer, Exchange, chunked, refusal


@dataclass(frozen=True)
class Fails:
    """An exception of ClickHouse, with ``status`` if given."""

    code: int = 202
    name: str = "TOO_MANY_SIMULTANEOUS_QUERIES"
    text: str = "Too many simultaneous queries. Maximum: 100"
    status: int | None = None
    commit: bool = False

    def __call__(self, exchange: Exchange) -> None:
        if self.commit:
            exchange.execute()
        error = EngineError(f"Code: {self.code}. DB::Exception: {self.text}. ({self.name})")
        error.status = self.status or error.status
        exchange.send(refusal(error))


@dataclass(frozen=True)
class Page:
    """The page of a proxy before ClickHouse."""

    status: int = 502
    commit: bool = False

    def __call__(self, exchange: Exchange) -> None:
        if self.commit:
            exchange.execute()
        exchange.send(Answer(self.status, {"Content-Type": "text/html"}, b"<!doctype html><title>Bad gateway</title>"))


@dataclass(frozen=True)
class Reset:
    """Resets the connection."""

    commit: bool = True

    def __call__(self, exchange: Exchange) -> None:
        if self.commit:
            exchange.execute()
        exchange.reset()


@dataclass(frozen=True)
class Hang:
    """Never answers."""

    commit: bool = True

    def __call__(self, exchange: Exchange) -> None:
        if self.commit:
            exchange.execute()
        exchange.hang()


@dataclass(frozen=True)
class Late:
    """The honest answer, ``seconds`` after the statement was run."""

    seconds: float

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.execute()
        exchange.pause(self.seconds)
        exchange.send(answer)


@dataclass(frozen=True)
class Cut:
    """The honest answer, but the connection ends after ``share`` of its body, and before what says that it is all.

    ``framing``: how the body's length is told.
    """

    share: float = 0.5
    framing: Literal["chunks", "length"] = "chunks"

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.execute()
        sent = answer.body[: int(self.share * len(answer.body))]
        if self.framing == "chunks":
            exchange.send_bytes(answer.head(**{"Transfer-Encoding": "chunked"}) + chunked(sent))
        else:
            exchange.send_bytes(answer.head(**{"Content-Length": str(len(answer.body) + 1)}) + sent)
        raise OSError("cut by a fault")


@dataclass(frozen=True)
class FailsMidway:
    """``share`` of the honest answer's body, then an exception, as when ClickHouse fails after it began to answer.

    ``is_ended``: the answer ends like a whole one, as it may come through a proxy.
    """

    share: float = 0.5
    is_ended: bool = False
    text: str = "Code: 241. DB::Exception: Query memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)"

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.execute()
        text = str(EngineError(self.text)).encode()
        tag = answer.tag.encode()
        told = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (tag, text, len(text), tag)
        answer = replace(answer, plain=answer.plain[: int(self.share * len(answer.plain))] + told)
        exchange.send_bytes(answer.head(**{"Transfer-Encoding": "chunked"}) + chunked(answer.body))
        if not self.is_ended:
            raise OSError("cut by a fault")
        exchange.send_bytes(b"0\r\n\r\n")
