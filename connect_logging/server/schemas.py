"""The schemas that routes share in the OpenAPI document: events, and the query document.

They say what the rules and the parser of queries take, no more and no less, as far as JSON Schema can say it.
"""

from __future__ import annotations

from typing import Any, Final

from .._grammar.timeframes import MAX_PERIODS
from .._grammar.zones import MAX_HOURS
from .._terms import (
    AGGREGATIONS,
    COUNT_COLUMN,
    INTERVALS,
    MAX_RESULT_ROWS,
    OPERATORS,
    PERIODS,
    RELATIVE_TIMEFRAMES,
)
from ..rules import MAX_INTEGER, MAX_NAME_LENGTH, MIN_INTEGER
from .openapi import Component, reference

INTEGER: Final[dict[str, Any]] = {"type": "integer", "minimum": MIN_INTEGER, "maximum": MAX_INTEGER}
"""What is kept exactly: 64 bits, signed or not."""

_NESTED_NAME: Final = {"pattern": r"^[^.]*$", "maxLength": MAX_NAME_LENGTH}
_ROOT_NAME: Final = {"pattern": r"^(?!_id$|[Tt][Pp]_)[^.]*$", "maxLength": MAX_NAME_LENGTH}

VALUE: Final = Component(
    "Value",
    {
        "description": "Any JSON: up to 100 levels deep, integers within 64 bits, no dot in a name.",
        "anyOf": [
            {"type": ["null", "boolean", "string", "number"]},
            {"type": "array", "items": reference("Value")},
            {"type": "object", "propertyNames": _NESTED_NAME, "additionalProperties": reference("Value")},
        ],
    },
)
EVENT: Final = Component(
    "Event",
    {
        "type": "object",
        "description": "Up to 65,536 bytes. Names beginning with `tp_`, and `_id`, are reserved in the root.",
        "properties": {
            "id": {
                "description": 'Unique in its collection; made by the server when absent. 7 and "7" are one.',
                "anyOf": [{"type": "string"}, INTEGER],
            },
            "timestamp": {
                "description": "Now when absent. An offset is converted; none means UTC.",
                "type": "string",
                "format": "date-time",
            },
        },
        "propertyNames": _ROOT_NAME,
        "additionalProperties": VALUE,
    },
)
BATCHED: Final = Component(
    "BatchedEvent", {"description": "An event. What is none is refused in its own result.", "anyOf": [EVENT, {}]}
)
EVENTS: Final = {"type": "array", "items": BATCHED}

_SCALAR: Final = {"type": ["null", "boolean", "string", "number"]}
_ORDERED: Final = {"type": ["string", "number"]}
_ONE_KIND: Final = {
    "anyOf": [{"type": "array", "items": {"type": kind}} for kind in ("string", "number", "boolean")],
}
_OPERANDS: Final[dict[str, Any]] = {
    "eq": _SCALAR,
    "neq": _SCALAR,
    "gt": _ORDERED,
    "gte": _ORDERED,
    "lt": _ORDERED,
    "lte": _ORDERED,
    "exists": {"type": "boolean"},
    "startsWith": {"type": "string"},
    "endsWith": {"type": "string"},
    "contains": {
        "description": "A part of a string, or an element of an array.",
        "type": ["string", "number", "boolean"],
    },
    "in": _ONE_KIND,
}
PATH: Final = Component(
    "Path",
    {
        "type": "string",
        "description": "A property, with dots into nested objects. `id` and `timestamp` are for no query.",
        "pattern": r"^(?!(id|timestamp)(\.|$))[^.]+(\.[^.]+){0,99}$",
        "examples": ["customer.country"],
    },
)
_TESTS: Final = [
    _SCALAR,
    _ONE_KIND,
    {
        "type": "object",
        "minProperties": 1,
        "properties": {
            spelling: _OPERANDS[operator]
            for operator in dict.fromkeys(OPERATORS.values())
            for spelling in [operator, *(each for each in OPERATORS if OPERATORS[each] == operator)]
        },
        "additionalProperties": False,
    },
]
FILTER: Final = Component(
    "Filter",
    {
        "description": "By property: a value, an array (one of these), or operators. All must hold.",
        "type": "object",
        "propertyNames": PATH,
        "properties": {
            "or": {
                "description": "Filters, of which one must hold; or what a property of this name must be.",
                "anyOf": [{"type": "array", "minItems": 1, "items": reference("Filter")}, *_TESTS],
            }
        },
        "additionalProperties": {"anyOf": _TESTS},
        "examples": [{"price": {"gt": 5}, "product": ["bell", "pump"]}],
    },
)
_MOMENT: Final = {"type": ["string", "null"], "format": "date-time"}
_PERIOD: Final = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {
        period: {"type": "integer", "minimum": 1, "maximum": MAX_PERIODS[unit]} for period, unit in PERIODS.items()
    },
    "additionalProperties": False,
}
TIMEFRAME: Final = Component(
    "Timeframe",
    {
        "anyOf": [
            {"enum": [None, *RELATIVE_TIMEFRAMES]},
            *(
                {"type": "object", "properties": {which: _PERIOD}, "required": [which], "additionalProperties": False}
                for which in ("current", "previous")
            ),
            {
                "description": "From the start until before the end.",
                "type": "object",
                "properties": {"start": _MOMENT, "end": _MOMENT},
                "additionalProperties": False,
            },
        ]
    },
)
_PERCENTILE: Final = {
    "type": "object",
    "properties": {"property": PATH, "p": {"type": "number", "minimum": 0, "maximum": 100}},
    "required": ["property", "p"],
    "additionalProperties": False,
}
_COLUMNS: Final[list[dict[str, Any]]] = [
    {"description": "A group or an alias.", "type": "string"},
    {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": {"enum": ["asc", "desc"]},
    },
]
_TIMEZONE: Final = {
    "anyOf": [
        {"type": "number", "minimum": -MAX_HOURS, "maximum": MAX_HOURS},
        {"type": "string", "format": "time-zone", "description": "Such as `Australia/Brisbane`."},
        {"type": "null"},
    ]
}
QUERY: Final = Component(
    "Query",
    {
        "type": "object",
        "description": "Names that are not listed are ignored.",
        "properties": {
            "select": {
                "description": f"The columns. Without it each row has `{COUNT_COLUMN}`.",
                "type": ["object", "null"],
                "maxProperties": 100,
                "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_LENGTH, "pattern": f"^(?!{COUNT_COLUMN}$)"},
                "additionalProperties": {
                    "anyOf": [
                        {"const": "count"},
                        {
                            "type": "object",
                            "minProperties": 1,
                            "maxProperties": 1,
                            "properties": {
                                **{name: PATH for name in AGGREGATIONS if name != "count"},
                                "percentile": _PERCENTILE,
                            },
                            "additionalProperties": False,
                        },
                    ]
                },
            },
            "filter": {"anyOf": [{"type": "null"}, FILTER]},
            "groupBy": {"anyOf": [{"type": "null"}, PATH, {"type": "array", "items": PATH, "maxItems": 100}]},
            "timeframe": TIMEFRAME,
            "interval": {"enum": [None, *INTERVALS]},
            "timezone": {
                "description": "Hours from UTC, or a name. With an interval or a relative timeframe.",
                **_TIMEZONE,
            },
            "nonEmpty": {"description": "Leaves out intervals without events.", "type": ["boolean", "null"]},
            "orderBy": {"anyOf": [{"type": "null"}, *_COLUMNS, {"type": "array", "items": {"anyOf": _COLUMNS}}]},
            "limit": {
                "description": "Rows; of each interval where there is one.",
                "anyOf": [{"type": "null"}, {"type": "integer", "minimum": 1, "maximum": MAX_RESULT_ROWS}],
            },
        },
        "examples": [
            {
                "select": {"orders": "count", "revenue": {"sum": "price"}},
                "filter": {"price": {"gt": 5}},
                "groupBy": "customer.country",
            }
        ],
    },
)
_NOTHING: Final = {
    "anyOf": [{"type": "null"}, {"type": "object", "maxProperties": 0}, {"type": "array", "maxItems": 0}]
}
EXPORT_QUERY: Final = Component(
    "ExportQuery",
    {
        "type": "object",
        "description": "What to export; `{}`: everything.",
        "properties": {
            "filter": {"anyOf": [{"type": "null"}, FILTER]},
            "timeframe": TIMEFRAME,
            "timezone": {"description": "Hours from UTC, or a name. With a relative timeframe.", **_TIMEZONE},
            **dict.fromkeys(("select", "groupBy", "interval", "orderBy", "limit"), _NOTHING),
        },
        "examples": [{"filter": {"price": {"gt": 5}}, "timeframe": "this_month"}],
    },
)
EXPORTED: Final = Component(
    "ExportedEvent",
    {
        "type": "object",
        "properties": {
            "id": {"description": "A text, also when it was pushed as a number.", "type": "string"},
            "timestamp": {
                "type": "string",
                "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
            },
        },
        "required": ["id", "timestamp"],
        "additionalProperties": VALUE,
    },
)
