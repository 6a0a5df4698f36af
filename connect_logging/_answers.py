"""The answer to a query on standard output: a table, JSON, CSV, or charts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, time
from itertools import islice
from shutil import get_terminal_size
from typing import Any, Final

import click

from ._console import plain, print_json, print_table, say, shown
from ._terms import FORMULA
from .responses import QueryResponse

MAX_CHARTS: Final = 10
"""Lines or sets of bars in one answer; that there are more is said."""

_BARE: Final = re.compile(r'[^",\r\n]+')
"""A text that a cell of CSV holds without quotes."""
_EMPTY: Final = '""'


def print_answer(response: QueryResponse, form: str) -> None:
    """``form``: one of :data:`FORMS`."""
    FORMS[form](response)


def _table(response: QueryResponse) -> None:
    start, end = _bounds(response)
    columns = [name for name in response.columns if name != end]
    if not len(response):
        say("no rows")
        return
    moments = _moments([row[start] for row in response]) if start else []
    zone = response.metadata.get("timezone")
    heads = [f"{name} ({'UTC' if zone is None else zone})" if name == start else name for name in columns]
    cells = [[row.get(name) for name in columns] for row in response]
    print_table(heads, [[moment, *row[1:]] for moment, row in zip(moments, cells, strict=True)] if start else cells)


def _json(response: QueryResponse) -> None:
    print_json({"metadata": response.metadata, "results": response.results})


def _csv(response: QueryResponse) -> None:
    """As exports have it: an empty cell is null, ``""`` an empty text. Python's own writer cannot tell them apart."""
    for cells in (response.columns, *([row.get(name) for name in response.columns] for row in response)):
        line = ",".join(map(_cell, cells))
        sys.stdout.write(f"{line or _EMPTY}\n")  # most that read CSV skip a line that is empty


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if isinstance(value, str) and text.startswith(tuple(FORMULA)):
        text = f"'{text}"  # from an event, so from anybody: no spreadsheet is to calculate it
    return text if _BARE.fullmatch(text) else '"{}"'.format(text.replace('"', '""'))


def _bars(response: QueryResponse) -> None:
    """For each column a set of bars, one for each row."""
    from ._charts import bars

    start, _ = _bounds(response)
    groups = list(response.metadata["groups"])
    moments = _moments([row[start] for row in response]) if start else [""] * len(response)
    labels = [
        "  ".join([*filter(None, [moment]), *(shown(row.get(name)) for name in groups)])
        for moment, row in zip(moments, response, strict=True)
    ]
    charts = [(name, labels, [row.get(name) for row in response]) for name in _numeric(response)]
    _draw(charts, bars)


def _lines(response: QueryResponse) -> None:
    """For each column and group a line through its intervals."""
    from ._charts import line

    start, _ = _bounds(response)
    if start is None:
        raise click.UsageError("a line needs an --interval; without one, --format bar shows rows side by side")
    groups = list(response.metadata["groups"])
    # By instants and by JSON: of an hour that occurs twice the local times are equal, and so are texts of 5 and "5".
    starts = {row[start].astimezone(UTC): row[start] for row in response}
    found: dict[str, dict[datetime, Any]] = {}
    titles: dict[str, list[str]] = {}
    for row in response:
        values = [row.get(name) for name in groups]
        group = json.dumps(values)
        titles[group] = [shown(value) for value in values]
        found.setdefault(group, {})[row[start].astimezone(UTC)] = row
    instants = sorted(starts)
    labels = _moments([starts[each] for each in instants])
    charts = [
        ("  ".join([name, *titles[group]]), labels, [rows.get(each, {}).get(name) for each in instants])
        for group, rows in found.items()
        for name in _numeric(response)
    ]
    _draw(charts, line)


def _draw(
    charts: Sequence[tuple[str, list[str], list[Any]]], draw: Callable[[list[str], list[Any], int], Iterator[str]]
) -> None:
    if not any(values for _, _, values in charts):
        say("no rows")
        return
    width = get_terminal_size().columns
    for title, labels, values in islice(charts, MAX_CHARTS):
        click.echo(plain(title))
        for each in draw(labels, values, width):
            click.echo(each)
    if len(charts) > MAX_CHARTS:
        say(f"… {len(charts) - MAX_CHARTS:,} more: narrow it with --where, or use --format table")


def _bounds(response: QueryResponse) -> tuple[str | None, str | None]:
    """The columns of an interval's start and end, if there are intervals."""
    return (None, None) if response.metadata.get("interval") is None else response.columns[:2]  # type: ignore[return-value]


def _numeric(response: QueryResponse) -> list[str]:
    """The columns that are no groups and no times."""
    others = {*response.metadata["groups"], *_bounds(response)}
    return [name for name in response.columns if name not in others]


def _moments(times: Sequence[datetime]) -> list[str]:
    """As short as tells them apart: days, minutes, or all of it."""
    if all(each.time() == time.min for each in times):
        return [f"{each.date()}" for each in times]  # strftime may write the year 1 as such
    if not any(each.second or each.microsecond for each in times):
        return [f"{each.date()} {each:%H:%M}" for each in times]
    return [each.isoformat(" ") for each in times]


FORMS: Final[dict[str, Callable[[QueryResponse], None]]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "bar": _bars,
    "line": _lines,
}
