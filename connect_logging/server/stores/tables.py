"""What exports as tables have in common: how many columns there may be, their names, the first line of CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from ..._terms import FORMULA
from .base import TooManyError
from .shapes import Types, add_shape

MAX_COLUMNS: Final = 1_000

_UNNAMED: Final = "_"
"""Stands for an empty name, which Parquet may have but a statement may not."""


def columns_of(shapes: Iterable[Any]) -> Types:
    """The properties in ``shapes`` and the types of their values, by name. Raises TooManyError."""
    seen: Types = {}
    for shape in shapes:
        add_shape(shape, (), seen)
        if len(seen) > MAX_COLUMNS:
            raise TooManyError(f"more than {MAX_COLUMNS:,} properties: too many for columns, ask for jsonl")
    return dict(sorted(seen.items()))


def csv_header(names: Sequence[str]) -> str:
    """The first line of CSV; ``names``: of the properties."""
    cells = ["id", "timestamp", *(f"'{name}" if name[:1] and name[0] in FORMULA else name for name in names)]
    return ",".join(f'"{cell}"' for cell in (cell.replace('"', '""') for cell in cells))


def column_name(name: str) -> str:
    """What a column of Parquet is called."""
    return name or _UNNAMED
