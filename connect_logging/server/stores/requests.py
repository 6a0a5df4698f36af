"""What the writer of a store is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Self, TypeAlias

from .base import NewEvents
from .batch import Batch

Name: TypeAlias = tuple[str, str]
"""Project and collection."""

MAX_GROUP: Final = 16 * 1024 * 1024
"""Bytes of events in one commit: about 50,000 events, half a second's work."""
_EVENT_OVERHEAD: Final = 100
"""Bytes an event weighs besides its id and its document."""


class Insert(NamedTuple):
    """Events to be stored, by collection."""

    project: str
    events: Mapping[str, Batch]

    @classmethod
    def of(cls, project: str, events: NewEvents) -> Self:
        """As a store is given them."""
        return cls(project, {collection: Batch.of(each) for collection, each in events.items()})

    @property
    def weight(self) -> int:
        """Bytes."""
        return sum(
            sum(map(len, batch.ids)) + len(batch.lines) + len(batch) * _EVENT_OVERHEAD for batch in self.events.values()
        )


class Delete(NamedTuple):
    """A collection to be deleted."""

    name: Name
