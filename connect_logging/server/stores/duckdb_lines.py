"""An event as text, written by DuckDB: expressions over the columns of a table of events. They hold no user's text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..._terms import FORMULA

MILLISECONDS: Final = "%Y-%m-%dT%H:%M:%S.%gZ"
"""How Connect's exports write a timestamp."""
MICROSECONDS: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
"""Without loss."""

_ID: Final = "replace(replace(to_json(id)::VARCHAR, chr(8232), '\\u2028'), chr(8233), '\\u2029')"
"""As other stores write it, so that exports can be compared: ends of lines in Unicode are escaped."""


def json_line(time_format: str) -> str:
    """The event as a compact JSON object that begins with ``id`` and ``timestamp``."""
    document = "doc::JSON::VARCHAR"
    return (
        f"""'{{"id":' || {_ID} || ',"timestamp":"' || strftime(timestamp, '{time_format}') || '"'"""
        f" || CASE {document} WHEN '{{}}' THEN '}}' ELSE ',' || substr({document}, 2) END"
    )


def csv_line(columns: Sequence[str]) -> str:
    """The event as a line of CSV: id, timestamp, then ``columns``, which are properties.

    A cell is empty for null and for what is missing, ``""`` for an empty string. Arrays are JSON. An object is told
    by its properties, in columns of their own; an empty one is ``{}``.
    """
    cells = f"{_text_cell('id')} || ',' || strftime(timestamp, '{MICROSECONDS}')"
    if not columns:
        return cells
    # One expression for all of them: planned a column at a time, 1,000 columns took 15 s before the first event.
    listed = f"list_transform([{', '.join(columns)}], lambda c: coalesce({_cell('c')}, ''))"
    return f"{cells} || ',' || array_to_string({listed}, ',')"


def json_value(column: str) -> str:
    """A property as JSON; NULL for what is missing or null, and for an object that is not empty."""
    json = f"{column}::JSON::VARCHAR"
    return (
        f"CASE WHEN {column} IS NOT NULL AND (variant_typeof({column}) NOT LIKE 'OBJECT(%' OR {json} = '{{}}')"
        f" THEN {json} END"
    )


def _cell(column: str) -> str:
    json = json_value(column)
    return (
        f"CASE WHEN variant_typeof({column}) = 'VARCHAR' THEN {_text_cell(f'{column}::VARCHAR')}"
        f" WHEN variant_typeof({column}) LIKE 'ARRAY(%' THEN {_quoted(json)} ELSE {json} END"
    )


def _text_cell(text: str) -> str:
    """A string, with an apostrophe in front of what a spreadsheet might take for a formula."""
    characters = ", ".join(f"chr({ord(each)})" for each in FORMULA)
    return _quoted(f"CASE WHEN left({text}, 1) IN ({characters}) THEN '''' || {text} ELSE {text} END")


def _quoted(text: str) -> str:
    return f"""'"' || replace({text}, '"', '""') || '"'"""
