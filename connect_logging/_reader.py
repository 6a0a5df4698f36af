"""Asks a server and reads its answers; tries again while a failure may pass. All of it may be asked twice.

Invariants:

* A call ends within its timeout, tries and pauses included. Of a stream that is the time to begin it, and of each
  piece; once a piece was handed on, nothing is tried again.
* Refused or not answered is a RequestError; after :meth:`Reader.close` it is a ClosedError, also in a pause.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from ._exchange import Call, HttpExchange
from ._retry import RetryPolicy
from ._settings import number
from ._types import Clock
from .exceptions import NO_SERVER, ClosedError, InvalidQueryError, RequestError, UnavailableError
from .responses import Collection, QueryResponse
from .rules import collection_violation

LONGEST_IN_URL: Final = 2_000
"""Characters of a query that are sent with GET, as every Connect server takes it. Proxies end at 8 kB or so."""

_Result = TypeVar("_Result")


class Reader:
    """``timeout``: seconds for a call where none are said. ``clock``: monotonic. Safe to share between threads."""

    def __init__(self, exchange: HttpExchange, retry: RetryPolicy, timeout: float, clock: Clock) -> None:
        self._exchange = exchange
        self._retry = retry
        self._timeout = timeout
        self._clock = clock
        self._closed = threading.Event()

    def close(self) -> None:
        """End pauses at once, and let go of connections."""
        self._closed.set()
        self._exchange.close()

    def ask(self, collection: str, document: Mapping[str, Any], timeout: float | None) -> QueryResponse:
        """The answer to the valid query ``document``."""
        text, path = _encode(document), _path("events", collection)
        call = Call("GET", path, {"query": text})
        if len(text) > LONGEST_IN_URL:
            call = Call("POST", f"{path}/query", body=text.encode())
        select = document.get("select") or {}
        return self._decoded(call, lambda answer: QueryResponse(answer["metadata"], answer["results"], select), timeout)

    def stream(self, collection: str, document: Mapping[str, Any], form: str) -> Generator[bytes, None, None]:
        """All events that ``document`` chooses, in the format ``form``, piece by piece."""
        parameters = {"query": _encode(document), "format": form}
        call = Call("GET", f"{_path('events', collection)}/export", parameters)
        first, pieces = self._persist(lambda left: self._opened(call, left), None)
        with closing(pieces):
            yield first
            yield from pieces

    def collections(self, timeout: float | None = None) -> list[Collection]:
        """All of the project, without their properties."""
        call = Call("GET", "/collections")
        return self._decoded(call, lambda answer: [*map(_collection, answer["collections"])], timeout)

    def collection(self, name: str, timeout: float | None = None) -> Collection:
        """One, with its properties."""
        return self._decoded(Call("GET", _collection_path(name)), _collection, timeout)

    def delete_collection(self, name: str, timeout: float | None = None) -> None:
        """Delete it with all its events. When an answer was lost, that it is not there any more is what was wanted."""
        call = Call("DELETE", _collection_path(name))
        lost_answer = False

        def delete(left: float) -> None:
            nonlocal lost_answer
            try:
                self._exchange.fetch(call, left)
            except UnavailableError:
                lost_answer = True
                raise
            except RequestError as error:
                if not (lost_answer and error.http_status == 404):
                    raise

        self._persist(delete, timeout)

    def _opened(self, call: Call, left: float) -> tuple[bytes, Generator[bytes, None, None]]:
        """The first piece, and the others: what can be tried again is over."""
        pieces = self._exchange.stream(call, left, self._timeout)
        return next(pieces, b""), pieces

    def _decoded(self, call: Call, read: Callable[[Any], _Result], timeout: float | None) -> _Result:
        content = self._persist(lambda left: self._exchange.fetch(call, left), timeout)
        try:
            return read(msgspec.json.decode(content))
        except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError, AttributeError):
            raise RequestError(NO_SERVER) from None

    def _persist(self, attempt: Callable[[float], _Result], timeout: float | None) -> _Result:
        """``attempt``, which is told the seconds that are left, until it succeeds, is refused, or time is up."""
        seconds = self._timeout if timeout is None else number("timeout", timeout, least=0.001)
        deadline = self._clock() + seconds
        failures = 0
        pause = 0.0
        while not self._closed.wait(pause):
            try:
                return attempt(max(0.001, deadline - self._clock()))
            except UnavailableError as error:
                failures += 1
                pause = self._retry.pause(failures, error.retry_after)
                hopeless = error.http_status is not None and error.retry_after is None
                if (hopeless and failures >= self._retry.attempts) or self._clock() + pause >= deadline:
                    raise
        raise ClosedError("this client is closed; ask before close(), or make a new client")


def _encode(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _path(*steps: str) -> str:
    return "".join(f"/{quote(step, safe='')}" for step in steps)


def _collection_path(name: str) -> str:
    if message := collection_violation(name):
        raise InvalidQueryError({"collection": message})
    return _path("collections", name)


def _collection(answer: Any) -> Collection:
    first, last = (answer[name] and datetime.fromisoformat(answer[name]) for name in ("firstEvent", "lastEvent"))
    properties = {each["name"]: tuple(each["types"]) for each in answer.get("properties", ())}
    return Collection(answer["name"], answer["events"], answer["bytes"], first, last, properties)
