"""What the server asks of a store, whichever database is behind it.

Invariants that every store keeps:

* The result of :meth:`Store.insert` is there only once the events are committed to disk.
* An event is stored once per project, collection and id, whoever sends it again, however, and whenever.
* A request is stored as a whole or fails as a whole, and never because of another request.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from ..._grammar.model import Query
from ...exceptions import ConnectError
from ..query.compiler import Line


class StoreError(ConnectError):
    """The store could not do it, and nothing of it was done; trying again later may work.

    ``remedy``: what who runs the server should look at, and no client is told; empty when nothing is known.
    ``told``: what clients are told, where that is not the whole message.
    """

    def __init__(self, message: str, remedy: str = "", told: str | None = None) -> None:
        self.remedy = remedy
        self.told = message if told is None else told
        super().__init__(message)

    @property
    def in_full(self) -> str:
        """For who runs the server."""
        return f"{self}: {self.remedy}" if self.remedy else str(self)


class StoreUnavailableError(StoreError):
    """The database could not be reached, or takes nothing now from anybody."""


class StoreBusyError(StoreError):
    """Too much is waiting to be stored. ``retry_after``: seconds."""

    retry_after = 1


class QueryTimeoutError(StoreError):
    """The query took longer than the server allows and was stopped."""


class StoppedError(ConnectError):
    """What a store read was stopped by the one who had asked for it."""


class NewEvent(NamedTuple):
    """An event that the rules have passed.

    ``id``: canonical text. ``timestamp``: microseconds since 1970 in UTC.
    ``document``: the other properties, as a compact JSON object: no line breaks.
    """

    id: str
    timestamp: int
    document: bytes


NewEvents: TypeAlias = Mapping[str, Sequence[NewEvent]]
"""By collection."""
Stored: TypeAlias = Mapping[str, Sequence[bool]]
"""By collection and in the order of the events: True for one stored now, False for a duplicate."""

Outcome: TypeAlias = Literal["stored", "duplicate", "rejected"]
"""What can become of an event that was sent."""


class Collection(NamedTuple):
    """A collection that holds events: how many, about how many bytes as JSON lines, and from when to when.

    ``first`` and ``last``: timestamps, in microseconds since 1970 in UTC.
    """

    name: str
    events: int
    bytes: int
    first: int
    last: int


class Property(NamedTuple):
    """A property that events have, and the JSON types of its values, in the order of :data:`PROPERTY_TYPES`.

    An object is told by the properties inside of it; of type ``object`` are empty ones.
    """

    path: tuple[str, ...]
    types: tuple[str, ...]


PROPERTY_TYPES: Final = ("string", "number", "boolean", "array", "object", "null")


class Commit(NamedTuple):
    """What a store tells of each commit: the seconds it took, and the requests and new events that were in it."""

    seconds: float
    requests: int
    events: int


class Figures(NamedTuple):
    """``waiting_bytes``: of events that wait to be stored. ``bytes``: that the database takes on disk."""

    waiting_bytes: int
    bytes: int


class TooManyError(ConnectError):
    """An export has more events than it may have, or more properties than columns can be made of; or a project has as
    many collections as it may have."""


Form: TypeAlias = Literal["connect", "jsonl", "csv", "parquet"]
"""connect: JSON lines with milliseconds, as Connect's exports have them. The others keep timestamps as they are."""


class Store(Protocol):
    """A place for the events of all projects. Safe to share between threads.

    What takes ``stopped`` blocks, and ends soon after that is set, with StoppedError.
    """

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        """Store ``events``; the future fails with StoreError.

        Raises at once StoreBusyError when too many wait, TooManyError when there would be too many collections.
        """

    def query(self, project: str, collection: str, query: Query, stopped: threading.Event | None = None) -> list[Line]:
        """The rows of the answer, by interval; one more than MAX_RESULT_ROWS when there are too many.

        A collection without events, and one nobody has pushed to, answers like an empty one. Raises StoreError.
        """

    def delete(self, project: str, collection: str) -> Future[bool]:
        """Delete a collection with all its events; the future tells whether there was one, or fails with StoreError.

        Of an insert that has not returned yet either all is deleted or nothing.
        """

    def collections(self, project: str, stopped: threading.Event | None = None) -> list[Collection]:
        """All collections of a project, by name. Raises StoreError."""

    def describe(
        self, project: str, collection: str, stopped: threading.Event | None = None
    ) -> tuple[Collection, list[Property]] | None:
        """A collection and the properties that its events have, by name; None when there is no such collection.

        The work is bounded: of many events a sample is looked at. Raises StoreError.
        """

    def check(self) -> None:
        """Return once the database has answered. Blocks. Raises StoreError."""

    def figures(self) -> Figures:
        """How much there is of what may grow; cheap."""

    def export(
        self,
        project: str,
        collection: str,
        query: Query,
        form: Form,
        *,
        stopped: threading.Event,
        max_events: int | None = None,
    ) -> Generator[bytes, None, None]:
        """The events that meet the filters and the timeframe of ``query``, by timestamp and then id, in pieces.

        All pieces are of the state at the first one. Each event has ``id`` and ``timestamp``. Of ``connect`` and
        ``jsonl`` a piece is a number of whole lines. ``csv`` and ``parquet`` have a column for each property that is
        not an object, named by its path, and ``csv`` begins with a line of these names.

        Iterating blocks, in one thread at a time; setting ``stopped`` ends that soon. Memory is bounded whatever the
        number of events. Raises StoreError, StoppedError, TooManyError.
        """

    def close(self) -> None:
        """Store what is waiting, then let go of the database. May be called again."""
