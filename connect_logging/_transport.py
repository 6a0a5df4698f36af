"""One batch, one POST, one answer. Never retries, never follows a redirect, never raises for what a server does.

Invariants:

* A request ends within its deadline whatever the server does, see :mod:`._http`.
* An :class:`Answer` and its message never hold the key; exceptions of the HTTP library, whose ``request`` carries
  the headers, do not leave this module.
* The body is the events' own bytes, joined.

Source of the meanings of statuses and bodies: sections 2 to 4 of the protocol (docs/http-api.md).
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec
import requests

from ._http import (
    HTTP_LOGGERS,
    cause,
    error_message,
    headers_of,
    hide,
    is_temporary,
    open_session,
    reason,
    retry_after,
)
from ._settings import Connection
from ._types import STORED, STORED_TEXT, Answer, AnswerKind, Clock, Outcome
from .event import Event

GZIP_FROM: Final = 1_024
"""Bytes. A smaller body fits one packet anyway."""
_GZIP: Final = 16 + zlib.MAX_WBITS
MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes read of an answer: 5,000 results with long messages are far below; an endless body is not."""

_DENIED: Final = frozenset({401, 403, 407})
_MISDIRECTED: Final = frozenset({404, 405, 410, 501, 505})

_decode_results = msgspec.json.Decoder(dict[str, list[Outcome]]).decode


class HttpTransport:
    """Pushes batches to one project over a kept-alive connection.

    ``timeout``: seconds for the whole of one request. Used by one thread at a time; :meth:`close` by any. What the
    environment says of proxies and certificates is read with the first push.
    """

    def __init__(self, connection: Connection, timeout: float, clock: Clock) -> None:
        self._url = f"{connection.base_url}/events"
        self._headers = {**headers_of(connection), "Content-Type": "application/json"}
        self._key = connection.api_key
        self._timeout = timeout
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin with a session of its own: a forked child must not write to its parent's connection."""
        self._session = open_session(self._clock, connections=1)
        self._request: requests.PreparedRequest | None = None
        self._surroundings: Mapping[str, Any] = {}
        self._gzip = False

    def __reduce__(self) -> NoReturn:
        raise TypeError("a transport holds a key and connections, and cannot be pickled")

    def prepare(self) -> None:
        """Wait for logging's lock, should somebody hold it, so that :meth:`push` does not have to.

        A logger that is asked for its level after a change of the configuration takes that lock once.
        ``dictConfig`` holds it while it closes handlers, which wait for what they have under way.
        """
        for logger in HTTP_LOGGERS:
            logger.isEnabledFor(logging.DEBUG)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def push(self, events: Sequence[Event]) -> Answer:
        """POST ``events`` as one batch. The outcomes are in their order."""
        is_packed = False
        try:
            body = batch_body(events)
            is_packed = self._gzip and len(body) >= GZIP_FROM
            if is_packed:
                body = zlib.compress(body, level=1, wbits=_GZIP)
            with self._post(body, is_packed=is_packed) as response:
                content = response.raw.read(MAX_ANSWER, decode_content=True)
        except Exception as error:  # noqa: BLE001 - whatever a request dies of, its events are to be sent again
            return Answer(AnswerKind.UNAVAILABLE, None, cause(error, self._key))
        self._gzip = "gzip" in response.headers.get("Accept-Encoding", "")
        if response.status_code == 415 and is_packed:
            return Answer(AnswerKind.UNAVAILABLE, 415, "the server no longer takes gzip")
        return self._read_answer(response, hide(content, self._key), events)

    def _post(self, body: bytes, *, is_packed: bool) -> requests.Response:
        request = self._request or self._prepared()
        request.body = body
        request.headers["Content-Length"] = str(len(body))
        if is_packed:
            request.headers["Content-Encoding"] = "gzip"
        else:
            request.headers.pop("Content-Encoding", None)
        return self._session.send(request, timeout=self._timeout, allow_redirects=False, **self._surroundings)

    def _prepared(self) -> requests.PreparedRequest:
        """The request without a body. To make it takes as long as to send it, so it is made once."""
        request = self._session.prepare_request(requests.Request("POST", self._url, headers=self._headers))
        self._surroundings = self._session.merge_environment_settings(self._url, {}, True, None, None)
        self._request = request
        return request

    def _read_answer(self, response: requests.Response, content: bytes, events: Sequence[Event]) -> Answer:
        status = response.status_code
        if status == 200:
            outcomes = _read_outcomes(content, events)
            if outcomes is None:
                return Answer(AnswerKind.MISDIRECTED, status, "the answer is not that of a Connect server")
            return Answer(AnswerKind.ANSWERED, status, "", outcomes)
        message = f"HTTP {status}: {error_message(content) or reason(response, self._key)}"
        if status in _DENIED:
            return Answer(AnswerKind.DENIED, status, message)
        if status < 400 or status in _MISDIRECTED:
            return Answer(AnswerKind.MISDIRECTED, status, message)
        if status == 413:
            return Answer(AnswerKind.TOO_LARGE, status, message)
        if is_temporary(status):
            return Answer(AnswerKind.UNAVAILABLE, status, message, retry_after=retry_after(response))
        return Answer(AnswerKind.REFUSED, status, message)


def batch_body(events: Sequence[Event]) -> bytes:
    """The batch document of ``events``, one at least; each collection's are in their order, their bytes as they are."""
    bodies: dict[str, list[bytes]] = {}
    for event in events:
        try:
            bodies[event.collection].append(event.body)
        except KeyError:
            bodies[event.collection] = [event.body]
    groups = [*bodies.items()]
    # All brackets go to the events beside them, so that megabytes are joined once, and not copied for each.
    for name, group in groups:
        group[0] = msgspec.json.encode(name) + b":[" + group[0]
        group[-1] += b"]"
    groups[0][1][0] = b"{" + groups[0][1][0]
    groups[-1][1][-1] += b"}"
    return b",".join([body for _, group in groups for body in group])


def _all_stored(collection: str, count: int) -> bytes:
    """What a server of ours answers to ``count`` events of one collection, all of which it has stored."""
    return b"{%b:[%b]}" % (msgspec.json.encode(collection), ((STORED_TEXT + b",") * count)[:-1])


def _read_outcomes(content: bytes, events: Sequence[Event]) -> Sequence[Outcome] | None:
    """One outcome per event in the order of ``events``; None when the answer has another shape."""
    if content == _all_stored(events[0].collection, len(events)):  # in no time: it need not be read
        return [STORED] * len(events)
    try:
        results = _decode_results(content)
        if len(results) == 1 and len(only := results.get(events[0].collection, ())) == len(events):
            return only
        rows = {name: iter(outcomes) for name, outcomes in results.items()}
        return [next(rows[event.collection]) for event in events]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, StopIteration):
        return None
