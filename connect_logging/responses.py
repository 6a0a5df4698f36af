"""What a push and a query come back with, in the names of the original SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._types import Properties
from .event import Event

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from ._frames import Columns, Kind

_WHOLE: Final = ("count", "distinct")
"""Aggregations whose results are whole numbers."""
_BOUNDS: Final = ("start", "end")


class PushResponse(msgspec.Struct, frozen=True):
    """The outcome of one event.

    ``success``: the server has stored it, now or by an earlier push of the same id.
    ``error_message``: why not, else None. ``http_status_code``: of the last answer, None when there was none.
    """

    success: bool
    error_message: str | None
    http_status_code: int | None
    _event: Event | None

    def __repr__(self) -> str:
        return f"PushResponse({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Without the event, which may be long, and is nobody's business in a log."""
        return [(name, getattr(self, name)) for name in ("success", "error_message", "http_status_code")]

    @property
    def event(self) -> Properties:
        """The event as it was sent, id and timestamp filled in; a new dict at each access.

        Empty where the event was damaged in the spool before it could be sent.
        """
        return {} if self._event is None else self._event.properties


class PushBatchResponse(msgspec.Struct, frozen=True):
    """The outcomes of a batch.

    ``success``: every event was stored. ``error_message`` and ``http_status_code`` are those of the first event
    that was not, else None and 200. ``results``: ``{collection: [PushResponse, …]}`` in the order of the call.
    """

    success: bool
    error_message: str | None
    http_status_code: int | None
    results: dict[str, list[PushResponse]]


class Collection(msgspec.Struct, frozen=True):
    """What the server holds of one collection.

    ``bytes``: of its events, about. ``first_event``, ``last_event``: their timestamps, None when there are none.
    ``properties``: ``{"customer.country": ("string",)}``, the kinds of values; told of a single collection only.
    """

    name: str
    events: int
    bytes: int
    first_event: datetime | None
    last_event: datetime | None
    properties: Mapping[str, tuple[str, ...]]


class ImportResult(msgspec.Struct, frozen=True):
    """What became of the events of an import.

    ``imported_events``: stored by it. ``duplicate_events``: that were there already. ``refused_events``: invalid, or
    refused by the server. ``event_errors``: of the first thousand of these the place, from 1 (in a file, the line),
    and why.
    """

    imported_events: int
    duplicate_events: int
    refused_events: int
    event_errors: tuple[tuple[int, str], ...]


class QueryResponse:
    """The answer to a query: a sequence of rows, each a dict of its groups and columns.

    With an interval a row begins with its ``start`` and ``end``, datetimes in the time zone of the query, or in UTC
    where the year would be 0 or 10000 there; where a group or column has one of these names, the bounds are
    ``interval.start`` and ``interval.end``. Without groups each interval has a row, one without events that of no
    events: counts are 0, other aggregates None.

    ``metadata`` and ``results``: as the server sent them.
    """

    def __init__(
        self, metadata: Mapping[str, Any], results: Sequence[Mapping[str, Any]], select: Mapping[str, Any]
    ) -> None:
        """``select``: that of the query, which knows the columns of an answer without rows."""
        from ._terms import COUNT_COLUMN  # here, as others below: who only pushes does not wait for what is for answers

        self.metadata = metadata
        self.results = results
        self._zone = _zone(metadata.get("timezone"))
        groups: dict[str, Kind] = dict.fromkeys(metadata["groups"], "group")
        columns = {alias: _kind(wanted) for alias, wanted in (select or {COUNT_COLUMN: "count"}).items()}
        kinds = groups | columns
        if metadata.get("interval") is None:
            self._rows = [dict(row) for row in results]
        else:
            bounds = _free_name("start", kinds), _free_name("end", kinds)
            of_none = {alias: 0 if kind == "whole" else None for alias, kind in columns.items()}
            self._rows = [*self._flat(bounds, [] if groups else [of_none])]
            kinds = {bounds[0]: "time", bounds[1]: "time", **kinds}
        self._columns: Columns = kinds

    def _flat(self, bounds: tuple[str, str], of_none: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """``of_none``: the rows of an interval that has none."""
        for each in self.results:
            start, end = (_local(datetime.fromisoformat(each["interval"][bound]), self._zone) for bound in _BOUNDS)
            for row in each["results"] or of_none:
                yield {bounds[0]: start, bounds[1]: end, **row}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in every row, in order."""
        return tuple(self._columns)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return self._rows[at]

    def __repr__(self) -> str:
        from ._tables import text_table

        return f"{type(self).__name__}, {len(self)} rows\n{text_table(self.columns, self._rows)}"

    def _repr_html_(self) -> str:
        from ._tables import html_table

        return html_table(self.columns, self._rows)

    def to_arrow(self) -> pyarrow.Table:
        """The rows as a table of Arrow, its times as timestamps. Raises MissingExtraError, as do the following."""
        from ._frames import arrow_table

        return arrow_table(self._columns, self._rows, self._zone)

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a data frame of pandas."""
        from ._frames import pandas_frame

        return pandas_frame(self._columns, self._rows, self._zone)

    def to_polars(self) -> polars.DataFrame:
        """The rows as a data frame of polars."""
        from ._frames import polars_frame

        return polars_frame(self._columns, self._rows, self._zone)


def _zone(name: object) -> tzinfo:
    """The zone that a query named, or UTC where it named none or one that this system does not know."""
    if isinstance(name, int | float):
        return timezone(timedelta(minutes=round(name * 60))) if name else UTC
    if not isinstance(name, str):
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # as in the grammar: only for who names one

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _local(moment: datetime, zone: tzinfo) -> datetime:
    """``moment`` in ``zone``, or as it is where the year there is none that a datetime can have."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def _kind(wanted: object) -> Kind:
    names = [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, Mapping) else []
    return "whole" if any(str(name).lower() in _WHOLE for name in names) else "number"


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name = f"interval.{name}"
    return name
