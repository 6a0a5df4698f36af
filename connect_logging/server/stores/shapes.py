"""The properties that documents have, gathered from their shapes: documents with types in place of values.

A shape is a type, a list for an array, or a dict by name for an object that is not empty. Types have DuckDB's names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from .base import PROPERTY_TYPES, Property

MAX_PROPERTIES: Final = 1_000
"""That are told of; far above real collections."""

ARRAY: Final = "ARRAY"
OBJECT: Final = "JSON"
"""One without properties."""
_NAMES: Final = {
    ARRAY: "array",
    "VARCHAR": "string",
    "UBIGINT": "number",
    "BIGINT": "number",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    OBJECT: "object",
    "NULL": "null",
}

Types: TypeAlias = dict[tuple[str, ...], set[str]]
"""The types of each property that was seen."""


def add_shape(shape: Any, path: tuple[str, ...], seen: Types) -> None:
    """Add the properties of ``shape``, which stands at ``path``, to ``seen``."""
    if isinstance(shape, dict):
        for name, inner in shape.items():
            add_shape(inner, (*path, name), seen)
    elif path:
        seen.setdefault(path, set()).add(ARRAY if isinstance(shape, list) else shape)


def properties_of(shapes: Iterable[Any]) -> list[Property]:
    """The properties in ``shapes``, by name; at most MAX_PROPERTIES."""
    seen: Types = {}
    for shape in shapes:
        add_shape(shape, (), seen)
        if len(seen) > MAX_PROPERTIES:
            break
    return [
        Property(path, tuple(each for each in PROPERTY_TYPES if each in {_NAMES[name] for name in types}))
        for path, types in sorted(seen.items())[:MAX_PROPERTIES]
    ]
