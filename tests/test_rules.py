"""The rules, each with its path; boundaries; and that nothing an event holds makes the walk raise or linger."""

from __future__ import annotations

import copy
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import msgspec
import pytest
from hostile import HOSTILE, RaisingDict, RaisingText, nested
from hypothesis import given
from hypothesis import strategies as st
from strategies import ANYTHING, EVENTS

from connect_logging import rules
from connect_logging.rules import (
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    MAX_INTEGER,
    MAX_NAME_LENGTH,
    MAX_VIOLATIONS,
    MIN_INTEGER,
    EventRules,
    canonical_id,
    collection_violation,
    parse_timestamp,
    unencodable,
)
from connect_logging.server.ingest import UsualProperties


def broken(event: Any, event_rules: EventRules | None = None) -> list[tuple[str, str]]:
    """(path, rule) of every violation."""
    return [(path, rule) for path, rule, _ in (event_rules or EventRules(("$",))).check(event)]


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Point(NamedTuple):
    x: int
    y: int


# --- properties

NAME_255, NAME_256 = "n" * MAX_NAME_LENGTH, "n" * (MAX_NAME_LENGTH + 1)


@pytest.mark.parametrize(
    ("event", "violations"),
    [
        ({"a.b": 1}, [("a.b", "dot")]),
        ({"a": {"b.c": 1}}, [("a.b.c", "dot")]),
        ({"a": [1, {"b": [{"c.d": 1}]}]}, [("a[1].b[0].c.d", "dot")]),
        ({NAME_256: 1}, [("n" * 40 + "…", "length")]),
        ({"a": {NAME_256: 1}}, [("a." + "n" * 40 + "…", "length")]),
        ({"$a": 1}, [("$a", "prefix")]),
        ({"a": [{"$b": 1}]}, [("a[0].$b", "prefix")]),
        ({"_id": 1}, [("_id", "reserved")]),
        ({"tp_": 1}, [("tp_", "reserved")]),
        ({"tp_x": 1}, [("tp_x", "reserved")]),
        ({"TP_x": 1}, [("TP_x", "reserved")]),
        ({1: 1}, [("<int>", "name")]),
        ({"a": {(1, 2): 1, None: 1}}, [("a.<tuple>", "name"), ("a.<NoneType>", "name")]),
        ({"a": b""}, [("a", "type")]),
        ({"a": [1, {2}]}, [("a[1]", "type")]),
        ({"a": object}, [("a", "type")]),
        ({"a": timedelta(1)}, [("a", "type")]),
        ({"a": float("nan"), "b": [float("inf")]}, [("a", "number"), ("b[0]", "number")]),
        ({"a": MAX_INTEGER + 1, "b": MIN_INTEGER - 1}, [("a", "range"), ("b", "range")]),
        ({"a": [10**5000]}, [("a[0]", "range")]),
        ({"id": True}, [("id", "id")]),
        ({"timestamp": "yesterday"}, [("timestamp", "timestamp")]),
        ({"a\nb.c": 1}, [("a\\nb.c", "dot")]),
        ({"tp_.x" + NAME_256: 1}, [("tp_.x" + "n" * 35 + "…", rule) for rule in ("dot", "length", "reserved")]),
    ],
)
def test_every_violation_has_its_path_and_rule(event: dict[Any, Any], violations: list[tuple[str, str]]) -> None:
    assert broken(event) == violations


def test_all_violations_of_an_event_are_named() -> None:
    event = {"_id": 1, "a.b": {"$c": float("nan")}, "d": [{1}, {"e": 2**64}], "id": None, "timestamp": 5}
    assert set(broken(event)) == {
        ("_id", "reserved"),
        ("a.b", "dot"),
        ("a.b.$c", "prefix"),
        ("a.b.$c", "number"),
        ("d[0]", "type"),
        ("d[1].e", "range"),
        ("id", "id"),
        ("timestamp", "timestamp"),
    }


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"": {"": ""}},
        {NAME_255: {NAME_255: 1}},
        {"a": {"_id": 1, "tp_x": 2, "id": None, "timestamp": "nested ones mean nothing"}},
        {"tp": 1, "xtp_": 1, "_ID": 1, "_id_": 1},
        {"a$": 1, "ä€😀": "ä€😀", "with space": "\x00"},
        {"a": None, "b": True, "c": 0.5, "d": -0.0, "e": 1e308, "f": "x"},
        {"a": MAX_INTEGER, "b": MIN_INTEGER},
        {"a": [], "b": {}, "c": [[], {}, [{}]]},
        {"a": (1, (2, {"b": 3})), "b": Point(1, 2)},
        {"a": datetime(2026, 1, 1), "b": [datetime(2026, 1, 1, tzinfo=UTC)]},
        {Colour.RED: Colour.RED, "size": Size.SMALL, "od": OrderedDict(a=[1])},
        {"id": 7, "timestamp": datetime(2026, 1, 1)},
        {"a": RaisingText("x"), "b": RaisingDict(c=[1])},
    ],
)
def test_valid_events_have_no_violation(event: dict[str, Any]) -> None:
    assert broken(event) == []


def test_the_server_takes_names_that_the_client_refuses() -> None:
    assert broken({"$a": {"$b": 1}}, EventRules()) == []
    assert broken({"#a": 1}, EventRules(("$", "#"))) == [("#a", "prefix")]


@pytest.mark.parametrize("wrap", [lambda inner: {"n": inner}, lambda inner: [inner], lambda inner: (inner,)])
def test_depth_ends_at_its_limit(wrap: Any) -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):  # the event itself is the first level
        value = wrap(value)
    assert broken({"n": value}) == []
    ((path, rule),) = broken({"n": wrap(value)})
    assert rule == "depth"
    assert path.count("n") + path.count("[") == MAX_DEPTH


@pytest.mark.parametrize(
    "event",
    [
        {"a": "x" * MAX_EVENT_BYTES},
        {"a": ["x" * 40_000, {"b": "x" * 40_000}]},
        {"a": [0] * MAX_EVENT_BYTES},
        {"a": [[]] * MAX_EVENT_BYTES},
        {str(at): None for at in range(MAX_EVENT_BYTES + 1)},
        {"a": {str(at): None for at in range(MAX_EVENT_BYTES + 1)}},
        {f"{at}.": None for at in range(MAX_EVENT_BYTES + 1)},  # and its names are not even looked at
    ],
)
def test_what_can_only_be_too_large_is(event: dict[str, Any]) -> None:
    assert broken(event) == [("", "size")]


def test_an_event_that_might_fit_is_left_to_the_encoder() -> None:
    assert broken({"a": "x" * (MAX_EVENT_BYTES - 1)}) == []


def test_reports_have_an_end() -> None:
    assert len(broken({f"{at}.": at for at in range(MAX_VIOLATIONS - 1)})) == MAX_VIOLATIONS - 1
    assert len(broken({f"{at}.": at for at in range(10 * MAX_VIOLATIONS)})) == MAX_VIOLATIONS
    assert len(unencodable({f"\ud800{at}": at for at in range(10 * MAX_VIOLATIONS)})) == MAX_VIOLATIONS


# --- hostile values


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_are_walked_quickly_and_change_nothing(name: str) -> None:
    event = {"before": 1, "hostile": HOSTILE[name](), "after": 2}
    before = list(event), [id(value) for value in event.values()]
    started = time.thread_time()
    violations = EventRules().check(event)
    assert time.thread_time() - started < 1
    assert violations or unencodable(event)
    assert sum(len(violation.path) + len(violation.message) for violation in violations) < 3_000_000
    assert (list(event), [id(value) for value in event.values()]) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_poisons_no_later_event(name: str) -> None:
    """For example a name that lies about its dots, and would be remembered as one without."""
    event_rules = EventRules()
    event_rules.check({"hostile": HOSTILE[name]()})
    assert broken({"hostile": {"a.b": 1}}, event_rules) == [("hostile.a.b", "dot")]


# --- the memory of names


def test_a_known_name_is_still_judged_by_its_place() -> None:
    event_rules = EventRules()
    assert broken({"a": {"_id": 1, "tp_x": 1}}, event_rules) == []
    assert broken({"_id": 1, "tp_x": 1}, event_rules) == [("_id", "reserved"), ("tp_x", "reserved")]
    assert broken({"a": {"_id": 1, "tp_x": 1}}, event_rules) == []


def test_a_refused_name_stays_refused() -> None:
    event_rules = EventRules()
    assert [broken({"a.b": {"a.b": 1}}, event_rules) for _ in range(3)] == [[("a.b", "dot"), ("a.b.a.b", "dot")]] * 3


def test_the_memory_of_names_is_bounded() -> None:
    """User data as names must not grow it for ever; what it has no room for is judged all the same."""
    event_rules = EventRules()
    for at in range(0, 20_000, 100):
        names = [f"{at + offset}" for offset in range(100)]
        assert broken(dict.fromkeys(names, dict.fromkeys(names)), event_rules) == []
    assert len(event_rules._root_names) == len(event_rules._nested_names) == rules._SEEN_NAMES
    assert broken({"new": 1, "new.": 1}, event_rules) == [("new.", "dot")]


# --- lone surrogates


def test_lone_surrogates_are_found_where_they_are() -> None:
    event = {"fine": ["x"], "a": "\ud800", "b": [{"c": ("x", "\udfff")}], "\ud800d": 1, "e": RaisingDict(f="\ud800")}
    found = unencodable(event)
    assert [violation.path for violation in found] == ["a", "b[0].c[1]", "\\ud800d", "e.f"]
    assert {violation.rule for violation in found} == {"text"}
    for violation in found:
        f"{violation.path} {violation.message}".encode()  # can be shown


# --- timestamps

MOMENT = datetime(2015, 7, 17, 11, 11, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("2015-07-17T11:11:11", MOMENT),  # Python SDK, naive means UTC
        ("2015-07-17T11:11:11.602000", MOMENT + timedelta(microseconds=602_000)),
        ("2015-07-17T11:11:11+00:00", MOMENT),  # Python SDK, aware
        ("2015-07-17T11:11:11Z", MOMENT),  # .NET, Ruby
        ("2015-07-17T11:11:11.1234567Z", MOMENT + timedelta(microseconds=123_456)),  # .NET, seven digits
        ("2015-07-17T11:11:11.587Z", MOMENT + timedelta(microseconds=587_000)),  # Java, JavaScript
        ("2015-07-17T11:11:11+0000", MOMENT),  # PHP, no colon
        ("2015-07-17T13:11:11+02", MOMENT),
        ("2015-07-17T07:41:11-0330", MOMENT),
        ("2015-07-17T21:11:11.000000000+10:00", MOMENT),
        ("2015-07-17t11:11:11z", MOMENT),
        ("2015-07-17 11:11:11", MOMENT),
        ("2015-07-17T11:11:11.9Z", MOMENT + timedelta(microseconds=900_000)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
        (datetime(2015, 7, 17, 11, 11, 11), MOMENT),
        (MOMENT, MOMENT),
        (datetime(2015, 7, 17, 21, 11, 11, tzinfo=timezone(timedelta(hours=10))), MOMENT),
    ],
)
def test_timestamps_that_arrive_are_read(given: object, read: datetime) -> None:
    parsed = parse_timestamp(given)
    assert (parsed, parsed.utcoffset()) == (read, timedelta(0))


@pytest.mark.parametrize(
    "given",
    [
        "", "now", "2015-07-17", "2015-07-17T11:11", "2015-07-17T11:11Z", "20150717T111111Z", "2015-W29-5T11:11:11",
        "2015-07-17T11:11:11,5Z", "2015-07-17T11:11:11.Z", "2015-07-17T11:11:11.1234567890Z", "2015-07-17T11:11:11 Z",
        "2015-07-17T11:11:11Z\n", " 2015-07-17T11:11:11Z", "2015-02-30T00:00:00Z", "2015-13-01T00:00:00Z",
        "2015-07-17T24:00:00Z", "2016-12-31T23:59:60Z", "2015-07-17T11:11:11+24:00", "2015-07-17T11:11:11+1",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-00:01", "+12015-07-17T11:11:11Z",
        "٢٠١٥-07-17T11:11:11Z", 1437131471, 1437131471.0, None, True, b"2015-07-17T11:11:11Z", MOMENT.date(),
    ],
)  # fmt: skip
def test_other_timestamps_are_refused_with_a_reason(given: object) -> None:
    with pytest.raises(ValueError, match=r"^timestamp "):
        parse_timestamp(given)


# --- ids


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("a", "a"), ("", ""), ("12345", "12345"), (12345, "12345"), (12345.0, "12345"), (-7, "-7"), (-0.0, "0"),
        ("12345.0", "12345.0"), (Colour.RED, "red"), (Size.SMALL, "1"), (MAX_INTEGER, str(MAX_INTEGER)),
        (MIN_INTEGER, str(MIN_INTEGER)),
    ],
)  # fmt: skip
def test_ids_have_one_text(given: object, canonical: str) -> None:
    read = canonical_id(given)
    assert (read, type(read)) == (canonical, str)


@pytest.mark.parametrize(
    "given",
    [None, True, False, 1.5, float("nan"), float("inf"), 1e300, MAX_INTEGER + 1, MIN_INTEGER - 1, b"a", [], {}],
)
def test_other_ids_are_refused(given: object) -> None:
    with pytest.raises(ValueError, match="id must be a string or an integer"):
        canonical_id(given)


# --- collections


@pytest.mark.parametrize("name", ["a", "_", "7", "my coll", "a.b:c-d", "Straße", "購入", "x" * MAX_NAME_LENGTH])
def test_these_can_name_a_collection(name: str) -> None:
    assert collection_violation(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "", " a", "a ", ".", "..", "../a", "-a", "a/b", "a\\b", "a+b", "a%2fb", "a\x00b", "a\n", "a\tb", "a?b", "a#b",
        '"', "errorMessage", "ﬁle", "\u212b", "e\u0301", "😀", "\ud800", "x" * (MAX_NAME_LENGTH + 1), None, 1, b"a",
        ["a"],
    ],
)  # fmt: skip
def test_these_cannot_name_a_collection(name: object) -> None:
    message = collection_violation(name)
    assert message
    assert message.isascii()


def test_a_subclass_of_str_cannot_name_a_collection() -> None:
    assert collection_violation(RaisingText("a")) == "a collection is named by a str, not RaisingText"


def test_nested_is_what_it_says() -> None:
    """The helper of the tests above."""
    assert nested(2) == {"n": {"n": 1}}


KNOWN = {"a": 1, "b": {"c": 1, "d": {"e": 1}}}
SHAPED = st.dictionaries(
    st.sampled_from(["a", "b", "x", "id", "timestamp"]),
    ANYTHING
    | st.integers(-(2**64), 2**65)
    | st.dictionaries(st.sampled_from(["c", "d", "a.b", "$x", "a"]), ANYTHING | st.floats(), max_size=3),
    max_size=4,
)


@given(SHAPED | EVENTS)
def test_what_is_surely_valid_is_valid(event: dict[str, Any]) -> None:
    quick = EventRules(("$",))
    assert quick.check(KNOWN) == []
    before = copy.deepcopy(event)
    if quick.surely_valid(event):
        assert EventRules(("$",)).check(event) == []
    assert repr(event) == repr(before)


@pytest.mark.parametrize(
    "event",
    [
        {"a": "x", "b": {"c": 1.5, "d": None, "e": True}},
        {"a": False, "b": None},
        {"a": -(2**63), "b": {"c": 2**64 - 1}},
        {"a": "x" * 60_000},
        {"a": [], "b": ["x", 1, 1.5, None, True, 2**64 - 1]},
        {},
    ],
)
def test_usual_events_are_surely_valid_once_their_names_are_known(event: dict[str, Any]) -> None:
    rules = EventRules()
    assert not event or not rules.surely_valid(event), "its names are new"
    assert rules.check(KNOWN) == []
    assert rules.surely_valid(event)


@pytest.mark.parametrize("place", ["root", "nested"])
@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**63) - 1,
        float("nan"),
        float("-inf"),
        [[]],
        [{}],
        [2**64],
        [0] * 65_536,
        {"c": {}},
        b"x",
        "x" * 70_000,
        {1, 2},
        1j,
        RaisingText("x"),
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, RaisingText) else "hostile",
)
def test_a_quick_look_leaves_the_rest_to_a_closer_one(value: object, place: str) -> None:
    rules = EventRules()
    assert rules.check(KNOWN) == []
    event = {"a": value} if place == "root" else {"b": {"c": value}}
    assert not rules.surely_valid(event)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "a lone surrogate"])  # the encoder finds it
def test_no_hostile_value_is_surely_valid(name: str) -> None:
    rules = EventRules()
    assert rules.check(KNOWN) == []
    value = HOSTILE[name]()
    assert not rules.surely_valid({"a": value})
    assert not rules.surely_valid({"b": {"c": value}})


def test_names_that_cannot_be_compared_are_left_to_a_closer_look() -> None:
    rules = EventRules()
    assert rules.check(KNOWN) == []
    assert not rules.surely_valid({RaisingText("a"): 1})


# --- what a decoder has made

LEAVES = st.none() | st.booleans() | st.integers(-(2**63) - 1, 2**64) | st.floats(allow_nan=False) | st.text(max_size=3)
NAMES = st.sampled_from(["a", "b", "c", "d", "id", "tp_x", "a.b", "$x"])
JSON = st.dictionaries(
    NAMES,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2)),
    max_size=3,
)


@given(JSON)
def test_a_decoder_finds_only_valid_values_and_changes_none(event: dict[str, Any]) -> None:
    rules = EventRules()
    assert rules.check(KNOWN) == []
    text = msgspec.json.encode(event)
    try:
        decoded: dict[str, Any] = msgspec.json.decode(text, type=UsualProperties)
    except msgspec.ValidationError:
        return
    assert repr(decoded) == repr(msgspec.json.decode(text))
    assert not rules.knows_names(decoded) or EventRules().check(decoded) == []


@pytest.mark.parametrize(
    "event",
    [
        KNOWN,
        {},
        {"a": "x", "b": {"c": [1.5, None], "d": {"e": True}}},
        {"a": [{"c": 1}, [2], "x"], "b": 2**63 - 1},
        {"a": {"c": -(2**63)}},
    ],
)
def test_usual_events_are_decoded_as_such(event: dict[str, Any]) -> None:
    rules = EventRules()
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event), type=UsualProperties)
    assert rules.knows_names(decoded) is not bool(event), "its names are new"
    assert rules.check(KNOWN) == []
    assert rules.knows_names(decoded)


@pytest.mark.parametrize("event", [{"x": 1}, {"a": {"x": 1}}, {"a": [{"x": 1}]}, {"a": {"c": {"x": 1}}}])
def test_names_are_looked_at_on_every_level(event: dict[str, Any]) -> None:
    rules = EventRules()
    assert rules.check(KNOWN) == []
    assert not rules.knows_names(event)


@pytest.mark.parametrize("value", ["18446744073709551616", "9223372036854775808", "-9223372036854775809", "[[[1]]]"])
def test_a_decoder_leaves_the_rest_to_a_closer_look(value: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"a": {value}}}', type=UsualProperties)
