"""JSON lines out of bytes that come in pieces, gzipped or not, without holding more than a piece and a line.

Invariants: a line is handed on once its end was seen, so that of a source that breaks off no half line is taken for a
whole one; what a line or a gzip stream can cost is bounded by the bytes that were received; blank lines, of which a
little gzip makes millions, cost next to nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from ...exceptions import ConnectError

MAX_LINE_BYTES: Final = 1024 * 1024
"""As received: the event in it may have 65,536 bytes without blanks."""
MAX_RATIO: Final = 250
"""Times that gzip may inflate what was received: ten times that of real events. zlib's own limit is 1,032."""
RATIO_FROM: Final = 64 * 1024 * 1024
"""Inflated bytes from which the ratio counts."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_FEED: Final = 16_384
"""Bytes given to an inflater at a time: what follows a member in them is copied."""
_PIECE: Final = 256 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

Line: TypeAlias = tuple[int, bytes | None]
"""Its number, from 1, and its content; None for one that is too long."""


class DamagedSourceError(ConnectError):
    """What is imported cannot be read to its end; the message says why."""


def read_lines(pieces: Iterable[bytes]) -> Iterator[Line]:
    """The lines in ``pieces`` that are not blank, without their ends. The last may have none."""
    number = 1
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        first, *others = piece.split(b"\n", 1)
        size += len(first)
        held.append(first)
        if size > MAX_LINE_BYTES:
            held.clear()  # what is left of it comes and goes piece by piece
        if not others:
            continue
        yield from _line(number, held, size)
        [rest] = others
        if not rest.isspace():
            for at, line in enumerate(rest.split(b"\n")[:-1], number + 1):
                if line and not line.isspace():
                    yield at, line if len(line) <= MAX_LINE_BYTES else None
        number += 1 + rest.count(b"\n")
        last = rest[rest.rfind(b"\n") + 1 :]
        held, size = [last], len(last)
    yield from _line(number, held, size)


def _line(number: int, held: list[bytes], size: int) -> Iterator[Line]:
    if size > MAX_LINE_BYTES:
        yield number, None
        return
    line = b"".join(held)
    if number == 1:
        line = line.removeprefix(_BYTE_ORDER_MARK)
    if line and not line.isspace():
        yield number, line


def inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content of a gzip stream of one or more members. Raises DamagedSourceError."""
    inflater = zlib.decompressobj(_GZIP)
    received = made = 0
    is_whole = False
    for fed in _fed(pieces):
        received += len(fed)
        left, is_full = fed, False
        while left or is_full:
            try:
                part = inflater.decompress(left, _PIECE)
            except zlib.error:
                raise DamagedSourceError("this is not valid gzip") from None
            made += len(part)
            if made > max(RATIO_FROM, received * MAX_RATIO):
                raise DamagedSourceError(f"gzip that inflates to more than {MAX_RATIO} times its size")
            yield part
            is_whole = inflater.eof
            left = inflater.unused_data if is_whole else inflater.unconsumed_tail
            is_full = len(part) == _PIECE and not is_whole  # there may be more, though all was fed
            if is_whole:
                inflater = zlib.decompressobj(_GZIP)
    if not is_whole:
        raise DamagedSourceError("the gzip stream ends too early" if received else "this is not valid gzip")


def _fed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _FEED):
            yield piece[start : start + _FEED]
