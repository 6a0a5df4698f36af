"""One request, one answer: whole, or as a stream. Never retries, never follows a redirect.

Invariants:

* What goes wrong is a RequestError, an UnavailableError where trying again may help. It holds no key, and no exception
  of the HTTP library is behind it.
* A whole answer is there within its timeout, and each piece of a stream within it, whatever the server does.
* An answer that breaks off is an error, never a short answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, NoReturn, TypeVar

import msgspec
import requests

from ._http import (
    cause,
    error_message,
    headers_of,
    hide,
    is_temporary,
    open_session,
    reason,
    renew_deadline,
    retry_after,
)
from ._settings import Connection
from ._types import Clock
from .exceptions import RequestError, UnavailableError

MAX_ANSWER: Final = 256 * 1024 * 1024
"""Bytes read of a whole answer; 10,000 rows are far below, an endless body is not."""
PIECE: Final = 64 * 1024
"""Bytes of a stream that are asked for at a time."""

_MAX_REFUSAL: Final = 1024 * 1024
_CONNECTIONS: Final = 8
"""Kept open, for as many threads."""

_Result = TypeVar("_Result")


class Call(msgspec.Struct, frozen=True):
    """A request. ``path`` is quoted; ``parameters`` are not, and are left out when None."""

    method: str
    path: str
    parameters: Mapping[str, str | None] = MappingProxyType({})
    body: bytes | None = None


class HttpExchange:
    """Requests to one project. Safe to share between threads; a forked child goes on with connections of its own."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._base_url = connection.base_url
        self._key = connection.api_key
        self._headers = headers_of(connection)
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._session = open_session(self._clock, _CONNECTIONS)
        self._process = os.getpid()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an exchange holds a key and connections, and cannot be pickled")

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._session.close()

    def fetch(self, call: Call, timeout: float) -> bytes:
        """The whole body of the answer. ``timeout``: seconds for all of it. Raises RequestError."""
        with self._answer(call, timeout) as response:
            content = self._read(response, MAX_ANSWER + 1)
        if len(content) > MAX_ANSWER:
            raise RequestError(f"the answer is larger than {MAX_ANSWER:,} bytes", response.status_code)
        return content

    def stream(self, call: Call, timeout: float, pace: float) -> Generator[bytes, None, None]:
        """The body in pieces of up to ``PIECE`` bytes. Raises RequestError.

        ``timeout``: seconds until it begins; ``pace``: for each piece.
        """
        with self._answer(call, timeout) as response:
            while piece := self._read_in_time(response, pace):
                yield piece

    @contextmanager
    def _answer(self, call: Call, timeout: float) -> Iterator[requests.Response]:
        """The answer to ``call`` when it is no refusal, its body not read."""
        if self._process != os.getpid():
            self._begin()
        headers = self._headers if call.body is None else {**self._headers, "Content-Type": "application/json"}
        response = self._guarded(
            lambda: self._session.request(
                call.method,
                self._base_url + call.path,
                params=call.parameters,
                data=call.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            )
        )
        with response:
            if not 200 <= response.status_code < 300:
                raise self._refusal(response, self._read(response, _MAX_REFUSAL))
            yield response

    def _guarded(self, action: Callable[[], _Result]) -> _Result:
        """What ``action`` of the HTTP library returns. Its exceptions hold the key: only what they say is told on."""
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - whatever a request dies of
            told = cause(error, self._key)
        raise UnavailableError(told)

    def _read(self, response: requests.Response, size: int) -> bytes:
        """Up to ``size`` bytes of the body, fewer only at its end."""
        content: bytes = self._guarded(lambda: response.raw.read(size, decode_content=True))
        return content

    def _read_in_time(self, response: requests.Response, timeout: float) -> bytes:
        renew_deadline(response, timeout)
        return self._read(response, PIECE)

    def _refusal(self, response: requests.Response, content: bytes) -> RequestError:
        status = response.status_code
        content = hide(content, self._key)
        if status < 400:
            return RequestError(
                f"HTTP {status}: base_url must be the server's own, as redirects are not followed", status
            )
        errors = _field_errors(content)
        told = "; ".join(f"{field}: {description}" for field, description in errors.items()) or error_message(content)
        message = f"HTTP {status}: {told or reason(response, self._key)}"
        if is_temporary(status):
            return UnavailableError(message, status, retry_after(response))
        return RequestError(message, status, errors)


class _FieldErrors(msgspec.Struct):
    errors: list[dict[str, str]]


def _field_errors(content: bytes) -> dict[str, str]:
    """``{field: description}`` of a refusal that has its faults by field; none when it has another shape."""
    try:
        listed = msgspec.json.decode(content, type=_FieldErrors).errors
        return {each["field"]: each["description"] for each in listed}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return {}
