"""An event as text, written by ClickHouse: expressions over the columns of the table of events.

They hold no user's text. Of an array or an object as JSON a number without a fraction may lose its ``.0``, as
ClickHouse writes it anew; a line of JSON is the text that was stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ..._grammar.calendars import WIDTHS
from ..._terms import FORMULA
from ..query.clickhouse_dialect import months

_DAY: Final = WIDTHS["day"]
_BEFORE: Final = 719_528 * _DAY
"""Microseconds from the year 0 to 1970."""
_ID: Final = "toJSONString(id)"
_BESIDES: Final = len('{"id":,"timestamp":"0001-01-01T00:00:00.000000Z"\n')


def time(digits: Literal[3, 6]) -> str:
    """The timestamp in ISO 8601, with so many digits of a second."""
    month = f"({months('timestamp')} AS line_month)"
    day = f"1 + intDiv(timestamp + {_BEFORE}, {_DAY}) - {_first_day('line_month')}"
    of_day = f"((timestamp + {_BEFORE}) % {_DAY} AS line_time)"
    parts = [
        _digits(f"intDiv({month}, 12)", 4),
        "'-'",
        _digits("1 + line_month % 12", 2),
        "'-'",
        _digits(day, 2),
        "'T'",
        _digits(f"intDiv({of_day}, 3600000000)", 2),
        "':'",
        _digits("intDiv(line_time, 60000000) % 60", 2),
        "':'",
        _digits("intDiv(line_time, 1000000) % 60", 2),
        "'.'",
        _digits(f"intDiv(line_time % 1000000, {10 ** (6 - digits)})", digits),
        "'Z'",
    ]
    return f"concat({', '.join(parts)})"


def json_line(digits: Literal[3, 6]) -> str:
    """The event as a compact JSON object that begins with ``id`` and ``timestamp``, and the end of the line."""
    rest = "if(raw = '{}', '}\\n', concat(',', substring(raw, 2), '\\n'))"
    return f"""concat('{{"id":', {_ID}, ',"timestamp":"', {time(digits)}, '"', {rest})"""


def json_line_size() -> str:
    """The bytes of a line with microseconds."""
    return f"length({_ID}) + if(raw = '{{}}', 1, length(raw)) + {_BESIDES}"


def csv_line(cells: str) -> str:
    """The event as a line of CSV: id, timestamp, then ``cells``, an array, and the end of the line."""
    return f"concat(arrayStringConcat(arrayConcat([{_text_cell('id')}, {time(6)}], {cells}), ','), '\\r\\n')"


def csv_cells(texts: Sequence[str], types: Sequence[str]) -> str:
    """Cells of properties, given as JSON and by what ``JSONType`` says of them.

    A cell is empty for null and for what is missing, ``""`` for an empty string. Arrays are JSON. An object is told by
    its properties; an empty one is ``{}``.
    """
    if not texts:
        return "[]"
    cell = (
        f"multiIf(t = 'String', {_text_cell('JSONExtractString(x)')}, t = 'Array', {_quoted_cell('x')},"
        f" t = 'Double', {double('toFloat64OrZero(x)')}, t = 'Null' OR (t = 'Object' AND x != '{{}}'), '', x)"
    )
    # One expression for all of them: planned a column at a time, 250 columns took some seconds before the first event.
    return f"arrayMap((x, t) -> {cell}, [{', '.join(texts)}], [{', '.join(types)}])"


def _text_cell(text: str) -> str:
    """A string, with an apostrophe in front of what a spreadsheet might take for a formula."""
    characters = ", ".join(f"unhex('{each.encode().hex()}')" for each in FORMULA)
    apostrophe = f"if(substringUTF8({text}, 1, 1) IN ({characters}), '\\'', '')"
    return f"concat('\"', {apostrophe}, replaceAll({text}, '\"', '\"\"'), '\"')"


def _quoted_cell(json: str) -> str:
    """JSON."""
    return f"concat('\"', replaceAll({json}, '\"', '\"\"'), '\"')"


def double(number: str) -> str:
    """A double as JSON that is not taken for an integer."""
    text = f"toString({number})"
    return f"concat({text}, if(match({text}, '[.e]'), '', '.0'))"


def _digits(number: str, width: int) -> str:
    return f"leftPad(toString({number}), {width}, '0')"


def _first_day(month: str) -> str:
    """The day on which a month begins, since the year 0; ``month``: since the year 0."""
    year = f"(intDiv({month} + 10, 12) - 1)"  # of years that begin in March
    days = f"intDiv(153 * (({month} + 10) % 12) + 2, 5)"
    return f"({days} + 365 * {year} + intDiv({year}, 4) - intDiv({year}, 100) + intDiv({year}, 400) + 60)"
