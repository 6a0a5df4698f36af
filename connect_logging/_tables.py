"""Rows as a table to look at: text for a terminal, HTML for a notebook.

Values come from events, so from anybody: what a terminal or a browser would obey is shown as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

MAX_ROWS: Final = 20
"""Shown; that there are more is said."""
MAX_WIDTH: Final = 40
"""Characters shown of a value."""

Rows = Sequence[Mapping[str, Any]]


def text_table(columns: Sequence[str], rows: Rows) -> str:
    """Lines of aligned columns, numbers to the right."""
    cells = [[_shown(name) for name in columns], *([_shown(row.get(name)) for name in columns] for row in _first(rows))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [_is_numeric(name, rows) for name in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([*lines, *_rest(rows)])


def html_table(columns: Sequence[str], rows: Rows) -> str:
    """A table without styles or scripts."""
    from html import escape  # for notebooks alone; it brings a table of all that HTML has names for

    head = "".join(f"<th>{escape(_shown(name))}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_shown(row.get(name)))}</td>' for name in columns)}</tr>" for row in _first(rows)
    )
    rest = "".join(f"<caption>{escape(line)}</caption>" for line in _rest(rows))
    return f"<table>{rest}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _first(rows: Rows) -> Rows:
    return list(islice(rows, MAX_ROWS))


def _rest(rows: Rows) -> list[str]:
    return [f"… {len(rows) - MAX_ROWS:,} more rows"] if len(rows) > MAX_ROWS else []


def _shown(value: object) -> str:
    if value is None:
        return "None"
    text = value.isoformat(" ") if isinstance(value, datetime) else str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 1]}…"


def _is_numeric(column: str, rows: Rows) -> bool:
    return all(isinstance(row.get(column), int | float | None) for row in _first(rows))
