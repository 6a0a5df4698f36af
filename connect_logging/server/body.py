"""The bytes of a request, never more than was asked for: neither as received nor inflated."""

from __future__ import annotations

import zlib
from typing import Final

from starlette.requests import Request

from .answers import RefusedError

_GZIP: Final = 16 + zlib.MAX_WBITS


async def read_body(request: Request, limit: int) -> bytes:
    """The decoded body. Raises RefusedError: 413 over ``limit`` bytes, 415 unknown encoding, 400 bad gzip."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise RefusedError(415, f"Content-Encoding {encoding!r} is not supported: send gzip or none")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    left = limit
    async for part in request.stream():
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise _too_large(limit)
    body = b"".join(parts)
    return inflate(body, limit) if "gzip" in encoding else body


def inflate(data: bytes, limit: int) -> bytes:
    """Gzip ``data``, of one or more members, inflated to at most ``limit`` bytes. Raises RefusedError."""
    parts: list[bytes] = []
    left = limit
    while data or not parts:
        inflater = zlib.decompressobj(_GZIP)
        try:
            part = inflater.decompress(data, left + 1)
        except zlib.error:
            raise RefusedError(400, "the body is not valid gzip") from None
        left -= len(part)
        if left < 0:
            raise _too_large(limit)
        if not inflater.eof:
            raise RefusedError(400, "the gzip body ends too early")
        parts.append(part)
        data = inflater.unused_data
    return b"".join(parts)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {limit:,} bytes")
