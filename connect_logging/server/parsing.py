"""Reads queries in threads, as an app does that has others to answer meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from .query.parser import is_lenient

Text = TypeVar("Text")
Parsed = TypeVar("Parsed")

_LENIENT: Final = 1
"""Documents read as JSON5 at a time. Each computes for some tenths of a second, and many at once would leave nobody
else a turn at the interpreter."""


class Parsing:
    """For all routes together. Strict JSON, whose reading takes next to no time, waits for none."""

    def __init__(self) -> None:
        self._lenient = anyio.CapacityLimiter(_LENIENT)

    async def run(self, parse: Callable[[Text, float], Parsed], document: Text, now: float) -> Parsed:
        """What ``parse`` makes of ``document``; whatever it raises."""
        limiter = self._lenient if is_lenient(document) else None
        return await anyio.to_thread.run_sync(parse, document, now, limiter=limiter)
