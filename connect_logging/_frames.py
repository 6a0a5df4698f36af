"""Rows as a table of Arrow, pandas or polars. Each library is imported when it is asked for, and not before.

All three come from one Arrow table, so they agree on types. These follow from the query where it says them and not
from the values that happen to be in an answer: ``count`` and ``distinct`` are 64-bit integers, other aggregates
doubles, the bounds of intervals timestamps in microseconds. A group's column has the type of its values; where these
are of several kinds, their text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .exceptions import MissingExtraError

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

Kind: TypeAlias = Literal["time", "whole", "number", "group"]
Columns: TypeAlias = Mapping[str, Kind]
"""The columns in their order."""

_MAX_INT64: Final = 2**63 - 1


def arrow_table(columns: Columns, rows: Sequence[Mapping[str, Any]], zone: tzinfo) -> pyarrow.Table:
    """``zone``: of the times."""
    arrow = _need("pyarrow", "to_arrow()")
    return _table(arrow, columns, rows, _zone_name(zone))


def pandas_frame(columns: Columns, rows: Sequence[Mapping[str, Any]], zone: tzinfo) -> pandas.DataFrame:
    """As :func:`arrow_table`, with an index of numbers."""
    _need("pandas", "to_pandas()")
    arrow = _need("pyarrow", "to_pandas()")
    return _table(arrow, columns, rows, _zone_name(zone)).to_pandas()


def polars_frame(columns: Columns, rows: Sequence[Mapping[str, Any]], zone: tzinfo) -> polars.DataFrame:
    """As :func:`arrow_table`, but in UTC where the zone is a number of hours, which polars does not know."""
    library = _need("polars", "to_polars()")
    arrow = _need("pyarrow", "to_polars()")
    name = _zone_name(zone)
    frame: polars.DataFrame = library.from_arrow(_table(arrow, columns, rows, "UTC" if name[0] in "+-" else name))
    return frame


def _need(library: str, method: str) -> Any:
    try:
        return import_module(library)
    except ImportError:
        hint = "pip install 'connect-logging[dataframe]'"
        raise MissingExtraError(f"{method} needs {library}: {hint}", name=library) from None


def _zone_name(zone: tzinfo) -> str:
    """``Australia/Brisbane``, or ``+10:30``."""
    offset = zone.utcoffset(None)
    if offset is None:
        return str(zone)
    if not offset:
        return "UTC"
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    return f"{'-' if offset < timedelta(0) else '+'}{hours:02}:{minutes:02}"


def _table(arrow: Any, columns: Columns, rows: Sequence[Mapping[str, Any]], zone: str) -> Any:
    arrays = [_array(arrow, kind, [row.get(name) for row in rows], zone) for name, kind in columns.items()]
    return arrow.Table.from_arrays(arrays, names=list(columns))


def _array(arrow: Any, kind: Kind, values: list[Any], zone: str) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kind == "time" and kinds <= {datetime}:
        return arrow.array(values, arrow.timestamp("us", tz=zone))
    if kind == "whole" and kinds <= {int}:
        return arrow.array(values, arrow.int64())
    if kind == "number" and kinds <= {int, float}:
        return arrow.array(_floats(values), arrow.float64())
    return _inferred(arrow, kinds, values)


def _inferred(arrow: Any, kinds: set[type], values: list[Any]) -> Any:
    if kinds == {bool}:
        return arrow.array(values, arrow.bool_())
    if kinds == {int}:
        numbers = [value for value in values if value is not None]
        if max(numbers) <= _MAX_INT64:
            return arrow.array(values, arrow.int64())
        if min(numbers) >= 0:
            return arrow.array(values, arrow.uint64())
    if kinds and kinds <= {int, float}:
        return arrow.array(_floats(values), arrow.float64())
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return arrow.array(texts, arrow.string())


def _floats(values: list[Any]) -> list[float | None]:
    return [None if value is None else float(value) for value in values]
