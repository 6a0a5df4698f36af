"""The bytes of a request, never more than was asked for: as received, inflated, and of all requests together."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from .answers import RefusedError

MAX_MEMBERS: Final = 1_000
"""Of a gzip body. Each costs some microseconds, however little is in it."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_FEED: Final = 16_384
"""Bytes given to an inflater at a time: what follows a member in them is copied."""
_INFLATING: Final = 2
"""Large bodies that are inflated at a time."""


async def read_body(request: Request, limit: int) -> bytes:
    """The decoded body. Raises RefusedError: 413 over ``limit`` bytes, 415 unknown encoding, 400 bad gzip.

    For small limits: a large one lets a few requests fill the memory; see :class:`Bodies`.
    """
    inflated = is_packed(request)
    body = await _receive(request, limit, lambda size: None)
    return inflate(body, limit) if inflated else body


class Bodies:
    """Large bodies, of which all together have at most ``total`` bytes while they are in use.

    What has come counts, not what is announced: that costs a client nothing, and a few could keep all others out.
    """

    def __init__(self, total: int) -> None:
        self._left = total
        self._inflating = anyio.CapacityLimiter(_INFLATING)

    @asynccontextmanager
    async def read(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """The decoded body, as of :func:`read_body`, within this block. Raises RefusedError also with 503: too many."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self._left:
                raise RefusedError(503, "too many large requests at a time: try again later", {"Retry-After": "1"})
            self._left -= size
            taken += size

        try:
            inflated = is_packed(request)
            body = await _receive(request, limit, take)
            if inflated:
                body = await anyio.to_thread.run_sync(inflate, body, limit, limiter=self._inflating)
                take(len(body))
            yield body
        finally:
            self._left += taken


def inflate(data: bytes, limit: int) -> bytes:
    """Gzip ``data``, of one or more members, inflated to at most ``limit`` bytes. Raises RefusedError."""
    parts: list[bytes] = []
    left = limit
    at = 0
    for _ in range(MAX_MEMBERS):
        inflater = zlib.decompressobj(_GZIP)
        while not inflater.eof:
            fed = data[at : at + _FEED]
            if not fed:
                raise RefusedError(400, "the gzip body ends too early" if data else "the body is not valid gzip")
            try:
                part = inflater.decompress(fed, left + 1)
            except zlib.error:
                raise RefusedError(400, "the body is not valid gzip") from None
            left -= len(part)
            if left < 0:
                raise _too_large(limit)
            parts.append(part)
            at += len(fed) - len(inflater.unused_data)
        if at == len(data):
            return b"".join(parts)
    raise RefusedError(400, f"a gzip body has at most {MAX_MEMBERS:,} members")


async def _receive(request: Request, limit: int, take: Callable[[int], None]) -> bytes:
    """The body as it is sent. ``take`` is told of each byte that has come."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        take(len(part))
        if not message.get("more_body", False):
            return b"".join(parts)


def is_packed(request: Request) -> bool:
    """Whether the body is gzip. Raises RefusedError, 415, for any other encoding."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise RefusedError(415, "this Content-Encoding is not supported: send gzip or none")
    return "gzip" in encoding


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {limit:,} bytes")
