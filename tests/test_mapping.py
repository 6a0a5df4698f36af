"""From a record to an event's properties: each option of the formatter, in a table."""

from __future__ import annotations

import copy
import json
import logging
import sys
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.config import DictConfigurator
from types import MappingProxyType
from typing import Any

import pytest
from pythonjsonlogger.core import RESERVED_ATTRS

from connect_logging._mapping import LEVEL_LOGGER_MESSAGE, EventFormatter, own_properties
from connect_logging.exceptions import ConfigurationError
from connect_logging.rules import EventRules

LOGGER = logging.getLogger("tests.mapping")


def a_record(message: Any = "paid %d", *args: Any, **extra: Any) -> logging.LogRecord:
    """A record as a log call makes it."""
    if message == "paid %d" and not args:
        args = (7,)
    return LOGGER.makeRecord("shop.till", logging.WARNING, "till.py", 12, message, args, None, "pay", extra)


def with_exception(record: logging.LogRecord, error: Exception | None = None) -> logging.LogRecord:
    try:
        raise error or ValueError("no money")
    except Exception:
        record.exc_info = sys.exc_info()  # type: ignore[assignment]
    return record


def properties(record: logging.LogRecord, *args: Any, **options: Any) -> Any:
    return EventFormatter(*args, **options).to_properties(record)


# What the log call itself gave


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, {}),
        ({"collection": "c"}, {}),
        ({"collection": "c", "price": 1, "customer": {"name": "Tom"}}, {"price": 1, "customer": {"name": "Tom"}}),
        ({"event": {"price": 1}}, {"price": 1}),
        ({"event": {"price": 1}, "other": 2}, {"price": 1}),
        ({"event": {}}, {}),
        ({"event": {"name": "n", "msg": "m", "collection": "c"}}, {"name": "n", "msg": "m", "collection": "c"}),
        ({"_private": 1, "__more": 2, "_": 3, "public_": 4}, {"public_": 4}),
        ({7: 1, None: 2, ("a",): 3}, {7: 1, None: 2, ("a",): 3}),
        ({"id": "x", "timestamp": "t"}, {"id": "x", "timestamp": "t"}),
    ],
    ids=[
        "nothing",
        "a collection",
        "flat extras",
        "an event",
        "an event beside extras",
        "an empty event",
        "an event with a record's names",
        "private names",
        "names that are no str, for the rules to refuse",
        "id and timestamp",
    ],
)
@pytest.mark.parametrize("by", ["function", "formatter"])
def test_a_log_calls_own_properties(by: str, extra: dict[Any, Any], expected: dict[Any, Any]) -> None:
    record = LOGGER.makeRecord("n", logging.INFO, "f", 1, "m", (), None, None, extra)
    assert (own_properties(record) if by == "function" else properties(record)) == expected


@pytest.mark.parametrize("event", [None, [], 7, "text", [("a", 1)]])
@pytest.mark.parametrize("options", [{}, {"fmt": ["message"]}])
def test_an_event_that_is_no_mapping_is_left_to_the_rules(event: Any, options: dict[str, Any]) -> None:
    assert properties(a_record(event=event, other=1), **options) is event


@pytest.mark.parametrize("computed", [*RESERVED_ATTRS, "message", "asctime", "exc_text", "stack_info"])
def test_what_logging_and_other_formatters_compute_never_joins_unasked(computed: str) -> None:
    record = a_record(price=1)
    record.__dict__.setdefault(computed, "computed")
    if computed in {"message", "asctime", "exc_text"}:
        record.__dict__[computed] = "computed"
    assert properties(record) == own_properties(record) == {"price": 1}
    assert properties(record, static_fields={"s": 1}) == {"s": 1, "price": 1}


def test_another_formatter_before_changes_nothing() -> None:
    record = with_exception(a_record(price=1))
    expected = properties(record, ["message"])
    logging.Formatter("%(asctime)s %(message)s").format(record)
    assert record.exc_text
    assert properties(record, ["message"]) == expected
    assert expected.keys() == {"message", "exc_info", "price"}


# What joins: each option of python-json-logger


@pytest.mark.parametrize(
    ("options", "extra", "expected"),
    [
        ({"fmt": ["levelname", "message"]}, {}, {"levelname": "WARNING", "message": "paid 7"}),
        ({"fmt": ("name", "lineno")}, {}, {"name": "shop.till", "lineno": 12}),
        ({"fmt": "%(levelname)s %(message)s"}, {}, {"levelname": "WARNING", "message": "paid 7"}),
        ({"fmt": "{levelname} {message}", "style": "{"}, {}, {"levelname": "WARNING", "message": "paid 7"}),
        ({"fmt": "$levelname ${message}", "style": "$"}, {}, {"levelname": "WARNING", "message": "paid 7"}),
        ({"fmt": "levelname,message", "style": ","}, {}, {"levelname": "WARNING", "message": "paid 7"}),
        (LEVEL_LOGGER_MESSAGE, {"a": 1}, {"level": "WARNING", "logger": "shop.till", "message": "paid 7", "a": 1}),
        ({"fmt": ["request"]}, {"request": 5}, {"request": 5}),
        ({"fmt": ["request"]}, {}, {"request": None}),
        ({"fmt": ["request"]}, {"request": 5, "event": {"a": 1}}, {"request": 5, "a": 1}),
        ({"fmt": ["_private"]}, {"_private": 5}, {"_private": 5}),
        ({"fmt": ["collection"]}, {"collection": "c"}, {"collection": "c"}),
        ({"rename_fields": {"a": "b"}}, {"a": 1, "c": 2}, {"b": 1, "c": 2}),
        ({"fmt": ["process"], "rename_fields": {"process": "pid"}}, {"a": 1}, None),
        ({"fmt": ["request"], "rename_fields": {"request": "id"}}, {"request": "r1"}, {"id": "r1"}),
        ({"static_fields": {"app": "shop"}}, {"a": 1}, {"app": "shop", "a": 1}),
        ({"static_fields": {"a": 0}}, {"a": 1}, {"a": 1}),
        ({"static_fields": {"a": 0}}, {"event": {"a": 1}}, {"a": 1}),
        ({"static_fields": {"nested": {"deep": [1]}}}, {}, {"nested": {"deep": [1]}}),
        ({"defaults": {"a": 0}}, {}, {"a": 0}),
        ({"defaults": {"a": 0}}, {"a": 1}, {"a": 1}),
        ({"defaults": {"a": 0}}, {"event": {"b": 1}}, {"a": 0, "b": 1}),
        ({"fmt": ["a"], "defaults": {"a": 0}}, {}, {"a": 0}),
        ({"fmt": ["a"], "defaults": {"a": 0}}, {"a": 1}, {"a": 1}),
        ({"fmt": ["a"], "defaults": {"a": 0}, "rename_fields": {"a": "b"}}, {}, {"b": 0}),
        ({"fmt": ["message"]}, {"event": {"message": "mine"}}, {"message": "mine"}),
        ({"fmt": ["message"]}, {"event": {"a": 1}, "other": 2}, {"message": "paid 7", "a": 1}),
        ({"reserved_attrs": ["secret"]}, {"secret": 1, "a": 2}, {"a": 2}),
        ({"rename_fields": {"x": "y"}, "rename_fields_keep_missing": True}, {"a": 1}, {"a": 1, "y": None}),
    ],
)
def test_what_joins_an_event(options: dict[str, Any], extra: dict[str, Any], expected: dict[str, Any] | None) -> None:
    record = a_record(**extra)
    found = properties(record, **options)
    assert found == (expected if expected is not None else {"pid": record.process, "a": 1})
    assert EventRules().check(dict(found)) == []


def test_asctime_is_formatted_as_logging_does() -> None:
    record = a_record()
    expected = {"asctime": logging.Formatter().formatTime(record, "%Y-%m-%d")}
    assert properties(record, ["asctime"], "%Y-%m-%d") == expected
    assert properties(record, ["asctime"]) == {"asctime": logging.Formatter().formatTime(record)}


@pytest.mark.parametrize(("timestamp", "name"), [(True, "timestamp"), ("when", "when")])
def test_timestamp_is_the_records_time(timestamp: Any, name: str) -> None:
    record = a_record(a=1)
    assert properties(record, timestamp=timestamp) == {
        "a": 1,
        name: datetime.fromtimestamp(record.created, UTC),
    }


@pytest.mark.parametrize("timestamp", [True, "timestamp"])
@pytest.mark.parametrize(
    ("message", "extra"),
    [("text", {"timestamp": "mine"}), ("text", {"event": {"timestamp": "mine"}}), ({"timestamp": "mine"}, {})],
)
def test_an_events_own_timestamp_wins_over_the_records(timestamp: Any, message: Any, extra: dict[str, Any]) -> None:
    assert properties(a_record(message, **extra), timestamp=timestamp) == {"timestamp": "mine"}


@pytest.mark.parametrize("message", [{"a": 1, "b": 2}, OrderedDict(a=1, b=2)])
def test_a_dict_that_is_logged_instead_of_a_message_joins(message: dict[str, Any]) -> None:
    assert properties(a_record(message)) == {"a": 1, "b": 2}
    assert properties(a_record(message), ["message"]) == {"message": "", "a": 1, "b": 2}
    assert properties(a_record(message, b=3, event={"b": 4})) == {"a": 1, "b": 4}
    assert properties(a_record(message), rename_fields={"a": "c"}) == {"c": 1, "b": 2}
    assert properties(a_record(message), defaults={"a": 0, "c": 0}) == {"a": 1, "b": 2, "c": 0}


def test_a_logged_exception_joins_as_text_and_may_be_renamed() -> None:
    found = properties(with_exception(a_record(a=1)))
    assert found.keys() == {"exc_info", "a"}
    first, *_, last = found["exc_info"].splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "ValueError: no money")
    assert properties(with_exception(a_record()), rename_fields={"exc_info": "error"}).keys() == {"error"}
    assert properties(with_exception(a_record(event={"a": 1}, other=2))).keys() == {"exc_info", "a"}
    assert properties(with_exception(a_record(event={"exc_info": "mine"}))) == {"exc_info": "mine"}
    assert properties(with_exception(a_record({"exc_info": "mine"}))) == {"exc_info": "mine"}


def test_a_stack_joins_as_text() -> None:
    record = a_record(a=1)
    record.stack_info = "Stack:\n  here"
    assert properties(record) == {"stack_info": "Stack:\n  here", "a": 1}


def test_exceptions_and_stacks_join_as_lines_when_asked() -> None:
    record = with_exception(a_record())
    record.stack_info = "Stack:\n  here"
    found = properties(record, exc_info_as_array=True, stack_info_as_array=True)
    assert found["exc_info"][-1] == "ValueError: no money"
    assert found["stack_info"] == ["Stack:", "  here"]


def test_fields_of_other_mappings_join_as_well() -> None:
    event = MappingProxyType({"a": 1})
    assert properties(a_record(event=event), ["levelname"]) == {"levelname": "WARNING", "a": 1}


def test_a_message_that_cannot_be_formatted_is_the_handlers_to_report() -> None:
    with pytest.raises(TypeError, match="not all arguments converted"):
        properties(a_record("paid", 1), ["message"])


class Signed(EventFormatter):
    """A user's formatter, as python-json-logger documents it."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data["signed"] = f"{record.name} at {record.lineno}"


def test_a_subclass_may_add_fields() -> None:
    assert Signed(["levelname"]).to_properties(a_record(a=1)) == {
        "levelname": "WARNING",
        "a": 1,
        "signed": "shop.till at 12",
    }


# Nothing is changed


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fmt": ["message", "asctime", "levelname", "a"]},
        {"rename_fields": {"a": "b"}, "static_fields": {"s": [1]}, "defaults": {"d": 1, "message": "x"}},
    ],
)
@pytest.mark.parametrize("message", ["paid %d", {"exc": 1}], ids=["text", "dict"])
@pytest.mark.parametrize("extra", [{"a": {"deep": 1}}, {"event": {"a": 1}, "other": 2}], ids=["flat", "event"])
def test_the_record_and_its_extra_are_not_changed(options: dict[str, Any], message: Any, extra: dict[str, Any]) -> None:
    record = with_exception(a_record(message, **extra))
    record.stack_info = "stack"
    before = dict(record.__dict__)
    contents = copy.deepcopy((message, extra, options))
    formatter = EventFormatter(**options)
    first = formatter.to_properties(record)
    assert formatter.to_properties(record) == first
    formatter.format(record)
    assert record.__dict__ == before
    assert all(record.__dict__[name] is value for name, value in before.items())
    assert (message, extra, options) == contents


# format


def test_format_shows_the_properties_as_json() -> None:
    text = EventFormatter(["message"]).format(a_record(a=1, when=datetime(2026, 1, 1, tzinfo=UTC)))
    assert json.loads(text) == {
        "message": "paid 7",
        "a": 1,
        "when": "datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)",
    }
    assert "\n" not in text


# Configuration


@pytest.mark.parametrize(
    ("options", "path", "why"),
    [
        ({"fmt": ["a.b"]}, "a.b", "dot"),
        ({"fmt": "a.b,c", "style": ","}, "a.b", "dot"),
        ({"fmt": ["levelname"], "rename_fields": {"levelname": "log.level"}}, "log.level", "dot"),
        ({"rename_fields": {"a": "tp_x"}}, "tp_x", "reserved"),
        ({"rename_fields": {"a": "n" * 256}}, "n" * 40 + "…", "255 characters"),
        ({"rename_fields": {"exc_info": "_id"}}, "_id", "reserved"),
        ({"rename_fields": {"a": 7}}, "<int>", "named by a str"),
        ({"static_fields": {"_id": 1}}, "_id", "reserved"),
        ({"static_fields": {"ok": {"not.ok": 1}}}, "ok.not.ok", "dot"),
        ({"static_fields": {"ok": float("nan")}}, "ok", "NaN"),
        ({"static_fields": {"timestamp": "yesterday"}}, "timestamp", "ISO-8601"),
        ({"static_fields": {"ok": {1, 2}}}, "ok", "set is not JSON"),
        ({"defaults": {"tp_a": 1}}, "tp_a", "reserved"),
        ({"defaults": {"ok": object()}}, "ok", "object is not JSON"),
        ({"timestamp": "a.b"}, "a.b", "dot"),
        ({"timestamp": True, "rename_fields": {"timestamp": "a.b"}}, "a.b", "dot"),
    ],
)
def test_a_property_that_no_event_may_have_is_refused_when_it_is_configured(
    options: Mapping[str, Any], path: str, why: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EventFormatter(**options)
    assert str(caught.value).startswith(f"EventFormatter cannot put {path!r} into an event: ")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"fmt": ["a.b"], "rename_fields": {"a.b": "ab"}},
        {"fmt": ["request"], "rename_fields": {"request": "id"}},
        {"fmt": ["when"], "rename_fields": {"when": "timestamp"}},
        {"static_fields": {"a.b": 1}, "rename_fields": {"a.b": "ab"}},
        {"timestamp": True},
    ],
)
def test_a_name_that_is_renamed_may_be_any(options: Mapping[str, Any]) -> None:
    EventFormatter(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmt": "no fields"}, "EventFormatter: Invalid format 'no fields' for '%' style"),
        ({"fmt": "{a.b.}", "style": "{"}, "EventFormatter: invalid format: "),
        ({"fmt": "x", "style": "?"}, "EventFormatter: style must be one of '%', '{', '$', ',', not '?'"),
        ({"style": "z"}, "EventFormatter: style must be one of '%', '{', '$', ',', not 'z'"),
        ({"fmt": ["message"], "style": []}, "EventFormatter: style must be one of '%', '{', '$', ',', not []"),
        ({"fmt": 7}, "EventFormatter: fmt must be a list of names, not int"),
        ({"reserved_attrs": 7}, "EventFormatter: reserved_attrs must be a list of names, not int"),
        ({"rename_fields": ["a"]}, "EventFormatter: rename_fields must be a dict, not list"),
        ({"static_fields": "a"}, "EventFormatter: static_fields must be a dict, not str"),
        ({"defaults": ["a"]}, "EventFormatter: defaults must be a dict, not list"),
        ({"prefix": "@cee:"}, "EventFormatter has no option 'prefix': its options are fmt, datefmt, style, "),
        ({"static_field": {}}, "EventFormatter has no option 'static_field': did you mean 'static_fields'?"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EventFormatter(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("key", "fmt"), [("fmt", ["message"]), ("fmt", "%(message)s"), ("format", "%(message)s")])
def test_dict_config_makes_one(key: str, fmt: Any) -> None:
    configurator = DictConfigurator(
        {"f": {"()": "connect_logging.EventFormatter", key: fmt, "static_fields": {"app": "shop"}}}
    )
    formatter = configurator.configure_formatter(configurator.config["f"])
    assert isinstance(formatter, EventFormatter)
    assert formatter.to_properties(a_record()) == {"message": "paid 7", "app": "shop"}
