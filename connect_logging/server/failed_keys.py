"""Wrong keys, counted by the address they come from and the project they are for.

Each has a bucket of failures that empties steadily: so many a minute, and as many at once. Invariants: only failures
are counted; the memory is bounded, and what is forgotten first is who failed longest ago.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from functools import lru_cache
from typing import Final, NamedTuple

from .._types import Clock

ADDRESSES_OF_A_PROJECT: Final = 10
"""A project's limit is that of so many addresses: it is for guesses that come from everywhere."""

_MAX_SOURCES: Final = 10_000
_REMEMBERED: Final = 1_024
"""Addresses that are not read anew at each request, though nobody has failed."""
_IPV6_NETWORK: Final = 64
"""Bits of an IPv6 address that one customer of a provider has alone."""


class FailedKeys:
    """``per_minute``: failures of one address. ``clock``: monotonic seconds. For one thread."""

    def __init__(self, per_minute: int, clock: Clock, max_sources: int = _MAX_SOURCES) -> None:
        self._addresses = _Buckets(per_minute, clock, max_sources)
        self._projects = _Buckets(per_minute * ADDRESSES_OF_A_PROJECT, clock, max_sources)

    def wait(self, host: str | None, project: str | None) -> int:
        """Whole seconds until the next failure is within both limits; 0 when it would be now."""
        seconds = self._addresses.wait(_source(host))
        if project is not None:
            seconds = max(seconds, self._projects.wait(project))
        return math.ceil(seconds)

    def count(self, host: str | None, project: str | None) -> None:
        """A failure. ``project``: that the key was for, None when there is no such project."""
        self._addresses.count(_source(host))
        if project is not None:
            self._projects.count(project)


class _Level(NamedTuple):
    """How many failures a bucket held at a moment of the clock."""

    failures: float
    at: float


class _Buckets:
    def __init__(self, per_minute: int, clock: Clock, size: int) -> None:
        self._capacity = per_minute
        self._rate = per_minute / 60
        self._clock = clock
        self._size = size
        self._levels: OrderedDict[str, _Level] = OrderedDict()
        """Whoever failed last comes last."""

    def wait(self, source: str) -> float:
        return max(0.0, self._level(source) + 1 - self._capacity) / self._rate

    def count(self, source: str) -> None:
        self._levels[source] = _Level(self._level(source) + 1, self._clock())
        self._levels.move_to_end(source)
        if len(self._levels) > self._size:
            self._levels.popitem(last=False)

    def _level(self, source: str) -> float:
        level = self._levels.get(source)
        if level is None:
            return 0.0
        return max(0.0, level.failures - (self._clock() - level.at) * self._rate)


@lru_cache(_REMEMBERED)
def _source(host: str | None) -> str:
    """What is counted as one: an IPv4 address, or the network that one customer's IPv6 addresses are in."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return ""  # a socket of the file system, or a proxy that sends nonsense
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), _IPV6_NETWORK), strict=False))
