"""What a push comes back with, in the names of the original SDK."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._types import Properties
from .event import Event


@dataclass(frozen=True, slots=True)
class PushResponse:
    """The outcome of one event.

    ``success``: the server has stored it, now or by an earlier push of the same id.
    ``error_message``: why not, else None. ``http_status_code``: of the last answer, None when there was none.
    """

    success: bool
    error_message: str | None
    http_status_code: int | None
    _event: Event = field(repr=False)

    @property
    def event(self) -> Properties:
        """The event as it was sent, id and timestamp filled in; a new dict at each access."""
        return self._event.properties


@dataclass(frozen=True, slots=True)
class PushBatchResponse:
    """The outcomes of a batch.

    ``success``: every event was stored. ``error_message`` and ``http_status_code`` are those of the first event
    that was not, else None and 200. ``results``: ``{collection: [PushResponse, …]}`` in the order of the call.
    """

    success: bool
    error_message: str | None
    http_status_code: int | None
    results: dict[str, list[PushResponse]]
