"""Ask a question, step by step, or choose events to export.

    from connect_logging.query import avg, count, desc, gt, last

    query = client.query("purchases").select(orders=count(), mean=avg("price")).where(price=gt(5))
    for row in query.group_by("customer.country").timeframe(last(3).months).order_by(desc("orders")).execute():
        print(row["customer.country"], row["orders"], row["mean"])

Invariants:

* Nothing here changes: each step is a new query, so a query may be kept, shared between threads and built upon.
* ``where`` narrows, always: what a query was given first, nothing that comes later can take back.
* A query that the server would refuse for its form raises InvalidQueryError where the mistake is made, before any
  request: the server reads it with the same code (:mod:`._grammar`).
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol, Self, overload

import msgspec

from ._download import Progress, save
from ._grammar.documents import read_export_query, read_query
from ._select import Aggregate, Order, asc, avg, count, desc, distinct, max, median, min, percentile, sum
from ._terms import EXPORT_FORMATS, ExportFormat, Interval, RelativeTimeframe
from ._types import Properties
from ._when import Periods, Relative, current, last
from ._where import (
    Condition,
    Filter,
    Wanted,
    all_of,
    any_of,
    contains,
    ends_with,
    eq,
    exists,
    gt,
    gte,
    is_in,
    lt,
    lte,
    neq,
    starts_with,
)
from .exceptions import NO_SERVER, InvalidQueryError, RequestError
from .responses import QueryResponse
from .rules import collection_violation, parse_timestamp

__all__ = [
    "Aggregate",
    "Condition",
    "Export",
    "Filter",
    "Order",
    "Periods",
    "Query",
    "Relative",
    "all_of",
    "any_of",
    "asc",
    "avg",
    "contains",
    "count",
    "current",
    "desc",
    "distinct",
    "ends_with",
    "eq",
    "exists",
    "gt",
    "gte",
    "is_in",
    "last",
    "lt",
    "lte",
    "max",
    "median",
    "min",
    "neq",
    "percentile",
    "starts_with",
    "sum",
]


_ENDINGS: Final = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}

_decode = msgspec.json.Decoder(Properties).decode


class Answers(Protocol):
    """Who answers: the client's connection to the server."""

    def ask(self, collection: str, document: Mapping[str, Any], timeout: float | None) -> QueryResponse:
        """The answer to a query."""

    def stream(self, collection: str, document: Mapping[str, Any], form: str) -> Generator[bytes, None, None]:
        """An export, piece by piece."""


@dataclass(frozen=True, repr=False)
class _Selection(ABC):
    """Events of one collection. ``_parts``: the document, but for the filter."""

    collection: str
    _answers: Answers
    _filter: Filter
    _parts: Mapping[str, Any]

    def __post_init__(self) -> None:
        if message := collection_violation(self.collection):
            raise InvalidQueryError({"collection": message})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.collection!r}, {self._document()!r})"

    @classmethod
    def begin(cls, answers: Answers, collection: str, document: Mapping[str, Any] | None = None) -> Self:
        """All of ``collection``, or what ``document`` says of it. Raises InvalidQueryError."""
        if document is not None and not isinstance(document, Mapping):
            raise InvalidQueryError({"query": f"a dict as JSON has it, not {type(document).__name__}"})
        parts = {name: value for name, value in (document or {}).items() if value is not None}
        chosen = parts.pop("filter", {})
        begun = cls(collection, answers, all_of(chosen), parts)
        begun.document  # noqa: B018 - which raises
        return begun

    def where(self, /, *filters: Filter | Mapping[str, Any], **properties: Wanted) -> Self:
        """Only events that meet this as well.

        ``where(country="AU", price=gt(5))`` for properties of the root, ``where({"customer.country": "AU"})`` for
        others, ``where(any_of(country="AU", price=gt(5)))`` for alternatives.
        """
        narrowed = all_of(self._filter, *filters, **properties)
        self._check({"filter": narrowed.document})
        return replace(self, _filter=narrowed)

    @overload
    def timeframe(self, relative: RelativeTimeframe | Relative, /) -> Self: ...
    @overload
    def timeframe(self, start: datetime | None = None, end: datetime | None = None) -> Self: ...
    def timeframe(self, start: object = None, end: object = None) -> Self:
        """Only events of this time: ``"this_month"``, ``last(3).days``, or from ``start`` until before ``end``.

        A datetime without a time zone is UTC; None is no bound. Replaces an earlier timeframe.
        """
        if isinstance(start, str | Relative):
            if end is not None:
                raise InvalidQueryError({"timeframe": "a relative timeframe stands alone: it has no end"})
            return self._with("timeframe", start.document if isinstance(start, Relative) else start)
        bounds = {"start": _moment(start), "end": _moment(end)}
        return self._with("timeframe", {name: bound for name, bound in bounds.items() if bound is not None})

    def timezone(self, zone: str | float) -> Self:
        """The zone of the calendar: ``"Australia/Brisbane"``, or hours from UTC. Replaces an earlier zone."""
        self._check({"timezone": zone, "timeframe": "today"})  # what it goes with is seen in the end
        return replace(self, _parts={**self._parts, "timezone": zone})

    @property
    def document(self) -> dict[str, Any]:
        """What is sent, a new dict. Raises InvalidQueryError when the parts do not go together."""
        document = self._document()
        self._check(document)
        try:
            json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            raise InvalidQueryError({"query": "a text holds a lone surrogate, which is not Unicode"}) from None
        except (TypeError, ValueError, RecursionError) as error:  # under a name that the grammar does not know
            raise InvalidQueryError({"query": f"nothing that JSON can say: {error}"}) from None
        return document

    def _document(self) -> dict[str, Any]:
        filters = self._filter.document
        return {**self._parts, "filter": filters} if filters else {**self._parts}

    def _with(self, part: str, value: object) -> Self:
        self._check({part: value})
        return replace(self, _parts={**self._parts, part: value})

    @abstractmethod
    def _check(self, document: Mapping[str, Any]) -> None:
        """Read a document as the server does. Raises InvalidQueryError."""


class Query(_Selection):
    """A question to one collection. Made by :meth:`.ConnectClient.query`."""

    def select(self, /, *columns: Mapping[str, Aggregate], **more: Aggregate) -> Self:
        """Add columns: ``select(revenue=sum("price"))``, or ``select({"total revenue": sum("price")})``.

        Without any, rows have ``_count``, the number of their events. A column of an earlier name replaces it.
        """
        if not all(isinstance(each, Mapping) for each in columns):
            raise InvalidQueryError({"select": "a column has a name: write select(n=count())"})
        selected = dict(self._parts.get("select", {}))
        for alias, wanted in [item for each in (*columns, more) for item in each.items()]:
            if not isinstance(wanted, Aggregate):
                raise InvalidQueryError({f"select.{alias}": 'no aggregate: write sum("price"), or count()'})
            selected[alias] = wanted.document
        return self._with("select", selected)

    def group_by(self, *paths: str) -> Self:
        """A row for each value of these properties, which come on top of earlier ones."""
        return self._with("groupBy", [*_listed(self._parts.get("groupBy")), *paths])

    def interval(self, interval: Interval, *, non_empty: bool = False) -> Self:
        """Rows for each ``"daily"`` and so on interval, also for those without events unless ``non_empty``.

        Replaces an earlier one.
        """
        self._check({"interval": interval, "nonEmpty": non_empty})
        parts = {name: value for name, value in self._parts.items() if name != "nonEmpty"}
        return replace(self, _parts={**parts, "interval": interval, **({"nonEmpty": True} if non_empty else {})})

    def order_by(self, *columns: str | Order) -> Self:
        """Sort rows by columns or groups, ascending unless ``desc("revenue")``; after what was there earlier."""
        order = [{each.column: each.direction} if isinstance(each, Order) else each for each in columns]
        return replace(self, _parts={**self._parts, "orderBy": [*_listed(self._parts.get("orderBy")), *order]})

    def limit(self, rows: int) -> Self:
        """The first ``rows``, of each interval when there is one. Replaces an earlier limit."""
        return self._with("limit", rows)

    def execute(self, timeout: float | None = None) -> QueryResponse:
        """Ask. ``timeout``: seconds for all of it, tries after a failure included; by default the client's.

        Raises InvalidQueryError before, RequestError after a request.
        """
        return self._answers.ask(self.collection, self.document, timeout)

    async def execute_async(self, timeout: float | None = None) -> QueryResponse:
        """As :meth:`execute`, in a thread: asking is one implementation, and waits in the background.

        Cancelled, it raises at once; what was asked is left to end in its time.
        """
        import asyncio  # who awaits has it already; for all others its import is long

        return await asyncio.to_thread(self.execute, timeout)

    def _check(self, document: Mapping[str, Any]) -> None:
        read_query(document, time.time())


class Export(_Selection):
    """The events of one collection, as they were pushed; all of them, or those that are chosen.

    An iterable, which asks the server each time. Made by :meth:`.ConnectClient.export`.
    """

    def __iter__(self) -> Iterator[Properties]:
        """The events as dicts, by ``timestamp``, while they arrive. Raises RequestError, also when they break off."""
        with closing(self.pieces()) as pieces:
            for line in _lines(pieces):
                yield _event(line)

    def to_file(
        self, path: str | PathLike[str], format: ExportFormat | None = None, *, progress: Progress | None = None
    ) -> int:
        """Write the events to ``path``, which is there as a whole or as it was before. Returns the bytes.

        ``format``: ``"jsonl"``, ``"csv"`` or ``"parquet"``; by default the ending of the name. ``progress`` is told now
        and then the bytes so far.
        """
        target = Path(path)
        name = _ENDINGS.get(target.suffix.lower()) if format is None else format
        if name not in EXPORT_FORMATS:
            known = ", ".join(EXPORT_FORMATS)
            raise InvalidQueryError({"format": f"one of {known}, or a name that ends with one, not {name or path!r}"})
        with closing(self.pieces(name)) as pieces:
            return save(pieces, target, progress)

    def pieces(self, format: ExportFormat = "jsonl") -> Generator[bytes, None, None]:
        """What :meth:`to_file` writes, while it arrives."""
        return self._answers.stream(self.collection, self.document, format)

    def _check(self, document: Mapping[str, Any]) -> None:
        read_export_query(document, time.time())


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from filter(None, lines)
    if rest:
        yield rest


def _event(line: bytes) -> Properties:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(NO_SERVER) from None


def _listed(part: Any) -> list[Any]:
    """A part that may be one, several, or none."""
    return part if isinstance(part, list) else [] if part is None else [part]


def _moment(value: object) -> object:
    """As JSON has it; what is no datetime, or none of UTC's, is left as it is, for the grammar to refuse."""
    if isinstance(value, datetime):
        with suppress(ValueError):
            return parse_timestamp(value).isoformat().replace("+00:00", "Z")
    return value
