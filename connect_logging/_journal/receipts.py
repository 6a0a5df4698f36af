"""Whom to tell of the events that lie in segments, found by where they lie.

All but :meth:`Receipts.keep` is used under the spool's lock.
"""

from __future__ import annotations

from ..event import Receipt


class Receipts:
    """A receipt is here from the moment its event is written until the event is read, or found damaged."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], Receipt] = {}
        self._damaged: list[Receipt] = []

    def __bool__(self) -> bool:
        """Whether anybody waits for the fate of an event that lies in a segment."""
        return bool(self._kept)

    def keep(self, segment: str, start: int, receipt: Receipt) -> None:
        """Of the event whose record begins at ``start``."""
        self._kept[segment, start] = receipt

    def pop(self, segment: str, start: int) -> Receipt | None:
        """The one of the event at ``start``, if it has one."""
        return self._kept.pop((segment, start), None)

    def spoil(self, segment: str, start: int, end: int) -> None:
        """What lies from ``start`` to ``end`` and has still a receipt could not be read."""
        # A copy, made in one step: receipts are kept without a lock.
        spoilt = [key for key in [*self._kept] if key[0] == segment and start <= key[1] < end]
        self._damaged += [self._kept.pop(key) for key in spoilt]

    def pop_kept(self) -> list[Receipt]:
        """All that are here."""
        kept = [*self._kept.values()]
        self._kept.clear()
        return kept

    def pop_damaged(self) -> list[Receipt]:
        """Those of events that cannot be read, since the last call."""
        damaged, self._damaged = self._damaged, []
        return damaged
