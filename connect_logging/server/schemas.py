"""The schemas that routes share in the OpenAPI document: events, and the query document.

They say what the rules and the parser of queries take, no more and no less, as far as JSON Schema can say it.
"""

from __future__ import annotations

from typing import Any, Final

from .._terms import AGGREGATIONS, COUNT_COLUMN, OPERATORS
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
    "contains": {"type": "string"},
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
FILTER: Final = Component(
    "Filter",
    {
        "description": "By property: a value, an array (one of these), or operators. All must hold.",
        "type": ["object", "null"],
        "propertyNames": PATH,
        "additionalProperties": {
            "anyOf": [
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
        },
        "examples": [{"price": {"gt": 5}, "product": ["bell", "pump"]}],
    },
)
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
                "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_LENGTH, "not": {"const": COUNT_COLUMN}},
                "additionalProperties": {
                    "anyOf": [
                        {"const": "count"},
                        {
                            "type": "object",
                            "minProperties": 1,
                            "maxProperties": 1,
                            "properties": {name: PATH for name in AGGREGATIONS if name != "count"},
                            "additionalProperties": False,
                        },
                    ]
                },
            },
            "filter": FILTER,
            "groupBy": {"anyOf": [{"type": "null"}, PATH, {"type": "array", "items": PATH, "maxItems": 100}]},
            "timeframe": {"type": "null"},
            "interval": {"type": "null"},
            "timezone": {"type": "null"},
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
