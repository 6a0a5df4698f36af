"""Names shared by all layers: aliases and the small records that cross a layer's border."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Properties: TypeAlias = dict[str, Any]
"""An event's properties as the caller gives them."""

Clock: TypeAlias = Callable[[], float]
"""Seconds; ``time.time`` for timestamps, ``time.monotonic`` for deadlines."""


class Violation(NamedTuple):
    """One broken rule: where (``customer.address[0].zip``, ``""`` for the whole event), which, and in words."""

    path: str
    rule: str
    message: str
