"""What the writer of a store is asked to do."""

from __future__ import annotations

from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from .base import NewEvents

Name: TypeAlias = tuple[str, str]
"""Project and collection."""

MAX_GROUP: Final = 16 * 1024 * 1024
"""Bytes of events in one commit: about 50,000 events, half a second's work."""
_EVENT_OVERHEAD: Final = 100
"""Bytes an event weighs besides its id and its document."""

_ID: Final = attrgetter("id")
_DOCUMENT: Final = attrgetter("document")


class Insert(NamedTuple):
    """Events to be stored."""

    project: str
    events: NewEvents

    @property
    def weight(self) -> int:
        """Bytes."""
        weight = 0
        for each in self.events.values():
            weight += sum(map(len, map(_ID, each))) + sum(map(len, map(_DOCUMENT, each))) + len(each) * _EVENT_OVERHEAD
        return weight


class Delete(NamedTuple):
    """A collection to be deleted."""

    name: Name
