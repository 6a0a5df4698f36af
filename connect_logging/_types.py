"""Names shared by all layers: aliases and the small records that cross a layer's border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

Properties: TypeAlias = dict[str, Any]
"""An event's properties as the caller gives them."""

Clock: TypeAlias = Callable[[], float]
"""Seconds; ``time.time`` for timestamps, ``time.monotonic`` for deadlines."""


class Violation(NamedTuple):
    """One broken rule: where (``customer.address[0].zip``, ``""`` for the whole event), which, and in words."""

    path: str
    rule: str
    message: str


class Fate(Enum):
    """What has become of one event at last, as the ledger counts it."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    DROPPED = "dropped"
    KEPT = "kept"
    """None yet: in the spool for the next process. Only receipts are told so, as this one stops."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What the server said of one event of a batch it answered, as it is read from its answer.

    A ``duplicate`` is stored, too, though old servers call it no ``success``. ``message``: a str, or of no use.
    """

    success: bool
    duplicate: bool | None = False
    message: Any = None


STORED: Final = Outcome(success=True)
"""Of nearly every event."""
STORED_TEXT: Final = b'{"success":true,"duplicate":false,"message":null}'
"""The same as our server writes it."""


class Overflow(StrEnum):
    """What a full buffer does with one event more."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    BLOCK = "block"


class AnswerKind(Enum):
    """What a request's answer means for its events, and so what the pusher does next."""

    ANSWERED = "an outcome per event"
    REFUSED = "something in it is wrong: bisect"
    TOO_LARGE = "too much at once: split"
    UNAVAILABLE = "not now: the same again, later"
    DENIED = "this key may not push: hold on to the events"
    MISDIRECTED = "this is no Connect server: hold on to the events"


class Answer(msgspec.Struct, frozen=True):
    """One request's result. ``outcomes`` has one entry per event when ``kind`` is ANSWERED, else none.

    ``message`` never holds a key. ``retry_after``: seconds that the server asked for, unclamped.
    """

    kind: AnswerKind
    http_status: int | None
    message: str
    outcomes: Sequence[Outcome] = ()
    retry_after: float | None = None


class Stretch(msgspec.Struct, frozen=True):
    """Of the journal's segment at ``path``: the first ``most`` events from the offset ``start`` to ``end``.

    A record begins at ``start``, one ends at ``end``, and all between them are whole.
    """

    path: str
    start: int
    end: int
    most: int


class Sent(msgspec.Struct, frozen=True):
    """What came of a stretch: so many ``events`` were pushed as one batch, up to the offset ``end``.

    None were when it could not be read, or damage is in it. ``answer``: the server's; None when it has stored them all.
    """

    events: int
    end: int
    answer: Answer | None = None
