"""From text to a document, and what all who read a part of it share: faults by field, and paths."""

from __future__ import annotations

from typing import Any, Final

import json5
import msgspec

from ..._terms import UNQUERYABLE
from ...rules import MAX_DEPTH
from .model import InvalidQueryError, Path

MAX_QUERY_LENGTH: Final = 65_536
"""Characters of the query parameter: about what a request line can carry."""
MAX_QUERY_BYTES: Final = 1_048_576
"""Of a query that is the body of a request."""
MAX_LENIENT_LENGTH: Final = 16_384
"""Characters that are tried as JSON5, whose reader takes 10 µs for each (strict JSON: some nanoseconds)."""
MAX_PARTS: Final = 100
"""Aggregates, conditions or groups in one query, each: far above real queries, and what bounds a statement."""


class Faults:
    """Collects what is wrong, the first description of each field."""

    def __init__(self) -> None:
        self._errors: dict[str, str] = {}

    def add(self, field: str, description: str) -> None:
        """``description`` says what the field takes instead."""
        self._errors.setdefault(field, description)

    def raise_any(self) -> None:
        """Raise InvalidQueryError when there are faults."""
        if self._errors:
            raise InvalidQueryError(self._errors)


def read_document(text: str | bytes | None) -> dict[str, Any]:
    """A parameter: strict JSON first, then JSON5 as the original service took it. A body: strict JSON.

    Raises InvalidQueryError.
    """
    if isinstance(text, bytes):
        return _read_body(text)
    if text is None:
        raise InvalidQueryError({"query": "missing: send ?query= with a URL-encoded JSON object"})
    if len(text) > MAX_QUERY_LENGTH:
        raise InvalidQueryError({"query": f"at most {MAX_QUERY_LENGTH:,} characters, not {len(text):,}"})
    try:
        document = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        document = _read_leniently(text, str(error))
    return _object(document)


def _read_body(body: bytes) -> dict[str, Any]:
    try:
        return _object(msgspec.json.decode(body))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidQueryError({"query": f"not JSON: {error}"}) from None


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidQueryError({"query": "a query is a JSON object"})
    return document


def _read_leniently(text: str, reason: str) -> object:
    if len(text) <= MAX_LENIENT_LENGTH:
        try:
            document: object = json5.loads(text)
            msgspec.json.encode(document)  # refuses lone surrogates, which strict JSON has refused already
        except (ValueError, OverflowError, RecursionError):
            pass  # the strict reader's reason is the one that helps
        else:
            return document
    raise InvalidQueryError({"query": f"not JSON: {reason}"})


def read_whole(value: object) -> int | None:
    """A whole number, of which JSON knows no difference between 3 and 3.0; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_path(name: object, field: str, faults: Faults) -> Path | None:
    """A property as a query names it, or None and a fault."""
    if not isinstance(name, str):
        faults.add(field, "a property is named by a string such as customer.age")
        return None
    path = tuple(name.split("."))
    if not all(path) or len(path) > MAX_DEPTH:
        faults.add(field, f"a property is 1 to {MAX_DEPTH} names joined by dots, none of them empty")
    elif path[0] in UNQUERYABLE:
        what = "timeframe and interval" if path[0] == "timestamp" else "no query"
        faults.add(field, f"{path[0]} is for {what}")
    else:
        return path
    return None
