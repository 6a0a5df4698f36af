"""Events as text, written by DuckDB: an expression over the columns of a table of events."""

from __future__ import annotations

from typing import Final

MILLISECONDS: Final = "%Y-%m-%dT%H:%M:%S.%gZ"
"""How Connect's exports write a timestamp."""
MICROSECONDS: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
"""Without loss."""


def json_line(time_format: str) -> str:
    """The event as a compact JSON object that begins with ``id`` and ``timestamp``."""
    document = "doc::JSON::VARCHAR"
    return (
        f"""'{{"id":' || to_json(id) || ',"timestamp":"' || strftime(timestamp, '{time_format}') || '"'"""
        f" || CASE {document} WHEN '{{}}' THEN '}}' ELSE ',' || substr({document}, 2) END"
    )
