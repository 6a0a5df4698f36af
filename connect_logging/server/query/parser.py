"""From the text that comes with a request to a :class:`Query`. What it may say, :mod:`..._grammar` knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import json5
import msgspec

from ..._grammar.documents import read_export_query, read_query
from ..._grammar.model import Query
from ...exceptions import InvalidQueryError

MAX_QUERY_LENGTH: Final = 65_536
"""Characters of the query parameter: about what a request line can carry."""
MAX_QUERY_BYTES: Final = 1_048_576
"""Of a query that is the body of a request."""
MAX_LENIENT_LENGTH: Final = 4_096
"""Characters that are tried as JSON5, whose reader takes up to 50 µs for each (strict JSON: some nanoseconds)."""


def parse_query(query: str | bytes | None, now: float) -> Query:
    """Read the ``query`` parameter, or the body. ``now``: seconds since 1970, for relative timeframes."""
    return read_query(read_document(query), now)


def parse_export_query(query: str | Mapping[str, Any] | None, now: float) -> Query:
    """Read the query of an export, the text of a parameter or a document within another: filters and timeframe."""
    return read_export_query(query if isinstance(query, Mapping) else read_document(query), now)


def is_lenient(document: object) -> bool:
    """Whether ``document`` is a text that takes long to read: it is to be tried as JSON5."""
    if not isinstance(document, str) or len(document) > MAX_LENIENT_LENGTH:
        return False
    try:
        msgspec.json.decode(document)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return True
    return False


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
