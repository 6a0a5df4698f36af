"""What the server asks of a store, whichever database is behind it.

Invariants that every store keeps:

* The result of :meth:`Store.insert` is there only once the events are committed to disk.
* An event is stored once per project, collection and id, whoever sends it again, however, and whenever.
* A request is stored as a whole or fails as a whole, and never because of another request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol, TypeAlias

from ...exceptions import ConnectError
from ..query.compiler import Row
from ..query.model import Query


class StoreError(ConnectError):
    """The store could not do it, and nothing of it was done; trying again later may work."""


class StoreBusyError(StoreError):
    """Too much is waiting to be stored. ``retry_after``: seconds."""

    retry_after = 1


class QueryTimeoutError(StoreError):
    """The query took longer than the server allows and was stopped."""


class NewEvent(NamedTuple):
    """An event that the rules have passed.

    ``id``: canonical text. ``timestamp``: microseconds since 1970 in UTC.
    ``document``: the other properties, as a compact JSON object.
    """

    id: str
    timestamp: int
    document: bytes


NewEvents: TypeAlias = Mapping[str, Sequence[NewEvent]]
"""By collection."""
Stored: TypeAlias = Mapping[str, Sequence[bool]]
"""By collection and in the order of the events: True for one stored now, False for a duplicate."""


class Store(Protocol):
    """A place for the events of all projects. Safe to share between threads."""

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        """Store ``events``; the future fails with StoreError. Raises StoreBusyError at once when too many wait."""

    def query(self, project: str, collection: str, query: Query) -> list[Row]:
        """The rows of the answer; one more than MAX_RESULT_ROWS when there are too many. Blocks.

        A collection without events, and one nobody has pushed to, answers like an empty one. Raises StoreError.
        """

    def close(self) -> None:
        """Store what is waiting, then let go of the database. May be called again."""
