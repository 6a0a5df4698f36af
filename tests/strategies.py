"""What property-based tests draw events from."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from hypothesis import strategies as st

from connect_logging.rules import MAX_INTEGER, MIN_INTEGER


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


NAMES = st.text(max_size=12) | st.sampled_from(["id", "timestamp", "_id", "tp_x", "a.b", "$x", "ok"])
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.binary(max_size=3)
    | st.sampled_from([Colour.RED, Size.SMALL]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.dictionaries(NAMES | st.integers(), inner, max_size=2).map(OrderedDict)
    ),
    max_leaves=12,
)
EVENTS = st.dictionaries(NAMES, ANYTHING, max_size=5)
"""Anything that a caller may pass: about half of them are valid."""


GOOD_NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=".$"), max_size=12).filter(
    lambda name: not name.lower().startswith("tp_") and name not in {"_id", "id", "timestamp"}
)
GOOD_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.datetimes(timezones=st.none() | st.just(UTC)),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(GOOD_NAMES, inner, max_size=4),
    max_leaves=12,
)
GOOD_SPECIALS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text() | st.integers(MIN_INTEGER, MAX_INTEGER),
        "timestamp": st.datetimes(timezones=st.none() | st.just(UTC)),
    },
)

GOOD_EVENTS = st.builds(
    lambda properties, specials: {**properties, **specials},
    st.dictionaries(GOOD_NAMES, GOOD_VALUES, max_size=5),
    GOOD_SPECIALS,
)
"""Valid events."""


def as_json(value: Any) -> Any:
    """What a reader should find for ``value``, worked out without any encoder."""
    if isinstance(value, dict):
        return {str.__str__(name): as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value
