"""From a log record to the properties of an event. Pure: nothing here sends, stores or keeps a record.

A record becomes an event when it names a collection, ``extra={"collection": "purchases", …}``. Its properties are the
dict under ``event`` in ``extra``, or, without one, all other names in ``extra``. What else of the record joins them
is said to :class:`EventFormatter`, in the words of python-json-logger.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pythonjsonlogger.core import RESERVED_ATTRS, BaseJsonFormatter

from ._settings import refuse_unknown
from ._types import Properties
from .exceptions import ConfigurationError
from .rules import EventRules

_NOT_PROPERTIES: Final = frozenset([*RESERVED_ATTRS, "collection", "event"])

_OPTIONS: Final = [name for name in inspect.signature(BaseJsonFormatter).parameters if name != "prefix"]
"""python-json-logger's, without the one that has a meaning for lines of text alone."""

_STYLES: Final = ("%", "{", "$", ",")
"""Of format strings, as python-json-logger knows them. It looks at the style only where there is one."""

_ANY_VALUE: Final = "2000-01-01T00:00:00Z"
"""Stands for what a record will hold when names are checked: valid as an id and a timestamp, too."""

LEVEL_LOGGER_MESSAGE: Final[dict[str, Any]] = {
    "fmt": ("levelname", "name", "message"),
    "rename_fields": {"levelname": "level", "name": "logger"},
}
"""What joins an event by default where every record becomes one."""


def own_properties(record: logging.LogRecord) -> Properties:
    """What the log call itself gave: the dict under ``event``, or without one all other names in ``extra``.

    Names that begin with ``_`` are private to whoever set them, as in python-json-logger.
    """
    attributes = record.__dict__
    if "event" in attributes:
        return attributes["event"]  # type: ignore[no-any-return]  # the rules check what it is
    return {
        name: value
        for name, value in attributes.items()
        if name not in _NOT_PROPERTIES and not (isinstance(name, str) and name[:1] == "_")
    }


class EventFormatter(BaseJsonFormatter):
    """What of a record joins its event; without arguments only a logged exception or stack does.

    ``fmt``: the record's attributes that join, as a list of names (``["levelname", "message"]``) or a format string
    in the ``style`` of logging. ``rename_fields``: ``{attribute: property}``. ``static_fields``: properties of every
    event. ``defaults``: values of properties that a record lacks. ``exc_info`` and ``stack_info`` join as text
    (``exc_info_as_array``: as lines) where they were logged. The event's own properties win over all of these.
    The others are in docs/events.md; ``prefix`` is none, as an event is no line of text.

    Raises ConfigurationError for a format without fields, a style or option that is none, a property that no event
    may have.
    """

    def __init__(
        self,
        fmt: str | Sequence[str] | None = None,
        datefmt: str | None = None,
        style: str = "%",
        validate: bool = True,
        **options: Any,
    ) -> None:
        refuse_unknown("EventFormatter", [name for name in options if name != "format"], _OPTIONS)
        _check_kinds({"fmt": fmt, **options})
        if validate and style not in _STYLES:  # without, a subclass may have one of its own
            choices = ", ".join(map(repr, _STYLES))
            raise ConfigurationError(f"EventFormatter: style must be one of {choices}, not {style!r}")
        try:  # where there is no format, python-json-logger's own default is the message
            super().__init__([] if fmt is None else fmt, datefmt, style, validate, **options)
        except ValueError as error:  # a TypeError says that there is "format": dictConfig then tries "fmt"
            raise ConfigurationError(f"EventFormatter: {error}") from None
        self._skip_fields |= _NOT_PROPERTIES
        self._kept_beside_event = _NOT_PROPERTIES.union(self._required_fields)
        self._joins = bool(
            self._required_fields
            or self.static_fields
            or self.defaults
            or self.rename_fields
            or self.timestamp
            or options.get("reserved_attrs")
        )
        unknown = dict.fromkeys([*self._required_fields, *self.rename_fields], _ANY_VALUE)
        self._time_property = "timestamp" if self.timestamp is True else self.timestamp
        self.timestamp = False  # python-json-logger would put it over the event's own
        if self._time_property:
            unknown[self._time_property] = _ANY_VALUE
        named = {**unknown, **self.defaults, **self.static_fields}
        violations = EventRules().check({self._get_rename(name): value for name, value in named.items()})
        if violations:
            path, _, message = violations[0]
            raise ConfigurationError(f"EventFormatter cannot put {path!r} into an event: {message}")

    def to_properties(self, record: logging.LogRecord) -> Properties:
        """The properties of the event that ``record`` stands for, not to be changed."""
        attributes = record.__dict__
        if not (self._joins or attributes["exc_info"] or attributes["stack_info"] or isinstance(record.msg, dict)):
            return attributes["event"] if "event" in attributes else own_properties(record)
        properties: Properties = {}
        if self._time_property:
            properties[self._get_rename(self._time_property)] = datetime.fromtimestamp(record.created, UTC)
        seen = self._seen(record)
        self.add_fields(properties, seen, self._told(seen))
        if "event" not in record.__dict__:
            return properties
        event = own_properties(record)
        return {**properties, **event} if isinstance(event, Mapping) else event

    def _seen(self, record: logging.LogRecord) -> logging.LogRecord:
        """A copy of ``record`` to work on, with defaults for what it lacks, and without extras beside ``event``."""
        seen = logging.LogRecord.__new__(logging.LogRecord)
        said = record.msg if isinstance(record.msg, dict) else {}
        seen.__dict__.update((name, value) for name, value in self.defaults.items() if name not in said)
        if "event" in record.__dict__:
            kept = self._kept_beside_event
            seen.__dict__.update((name, value) for name, value in record.__dict__.items() if name in kept)
        else:
            seen.__dict__.update(record.__dict__)
        return seen

    def _told(self, record: logging.LogRecord) -> Properties:
        """What the record says in its message, exception and stack, as python-json-logger puts it."""
        told: Properties = dict(record.msg) if isinstance(record.msg, dict) else {}
        if "message" in self._required_fields:
            record.message = "" if told else record.getMessage()
        if "asctime" in self._required_fields:
            record.asctime = self.formatTime(record, self.datefmt)
        if record.exc_info:
            told.setdefault("exc_info", self.formatException(record.exc_info))
        if record.stack_info:
            told.setdefault("stack_info", self.formatStack(record.stack_info))
        return told

    def format(self, record: logging.LogRecord) -> str:
        """The properties as one line of JSON, for looking at them on a console."""
        return json.dumps(self.to_properties(record), default=repr)


def _check_kinds(options: Mapping[str, Any]) -> None:
    for names, kind, called in (
        (("fmt",), Sequence, "a list of names"),
        (("reserved_attrs",), Collection, "a list of names"),
        (("rename_fields", "static_fields", "defaults"), Mapping, "a dict"),
    ):
        for name in names:
            value = options.get(name)
            if value is not None and not isinstance(value, kind):
                raise ConfigurationError(f"EventFormatter: {name} must be {called}, not {type(value).__name__}")
