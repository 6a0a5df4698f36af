"""Events: what the factory accepts is what is sent, whole and valid; what it refuses costs little."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
import time
from collections import OrderedDict, UserDict, defaultdict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NoReturn

import msgspec
import pandas
import pytest
from hostile import HOSTILE, Opaque, RaisingDict, RaisingMapping, RaisingText, RaisingZone
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import EVENTS, GOOD_EVENTS, as_json

from connect_logging._completion import OrderedCompletion
from connect_logging._shapes import LEARN_AFTER
from connect_logging.event import HEAD_BYTES, YEAR_10000, Draft, Event, EventFactory, new_id
from connect_logging.exceptions import InvalidEventError
from connect_logging.rules import MAX_EVENT_BYTES, EventRules, parse_timestamp

NOW = 1_437_131_471.25
STAMP = "2015-07-17T11:11:11.250000Z"


def factory() -> EventFactory:
    return EventFactory(EventRules(("$",)), lambda: NOW, lambda: "made")


def sent(properties: Any, created: float | None = None) -> dict[str, Any]:
    """What a strict JSON reader makes of the event."""
    return strict(factory().from_mapping("c", properties, created).body)


def strict(body: bytes) -> dict[str, Any]:
    """``body`` as JSON: no NaN, no name twice."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    read = json.loads(body.decode(), parse_constant=refuse, object_pairs_hook=without_repeats)
    assert type(read) is dict
    return read


def refusal(properties: Any, collection: Any = "c") -> dict[str, str]:
    """The errors of an event that is refused, with nothing behind them that could hold on to its values."""
    with pytest.raises(InvalidEventError) as caught:
        factory().from_mapping(collection, properties)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value.errors


# --- id and timestamp


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, {"id": "made", "timestamp": STAMP}),
        ({"a": 1}, {"id": "made", "timestamp": STAMP, "a": 1}),
        ({"id": "mine"}, {"id": "mine", "timestamp": STAMP}),
        ({"a": 1, "id": 7}, {"id": 7, "timestamp": STAMP, "a": 1}),
        ({"timestamp": "2020-01-01 01:00:00+0100"}, {"id": "made", "timestamp": "2020-01-01T00:00:00Z"}),
        ({"timestamp": datetime(2020, 1, 1), "id": 0}, {"id": 0, "timestamp": "2020-01-01T00:00:00Z"}),
        ({"timestamp": datetime(2020, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
         {"id": "made", "timestamp": "2020-01-01T00:00:00Z"}),
    ],
)  # fmt: skip
def test_fills_in_what_is_absent_and_keeps_what_is_there(properties: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(properties) == expected


def test_the_time_of_creation_goes_before_the_clock() -> None:
    assert sent({"a": 1}, created=0.0)["timestamp"] == "1970-01-01T00:00:00.000000Z"
    assert sent({"id": 1}, created=0.5)["timestamp"] == "1970-01-01T00:00:00.500000Z"
    assert sent({"timestamp": "2020-01-01T00:00:00Z"}, created=0.0)["timestamp"] == "2020-01-01T00:00:00Z"


@settings(deadline=None)
@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=4), st.booleans())
def test_stamps_are_to_the_microsecond_whatever_the_order(moments: list[float], with_id: bool) -> None:
    """The text of the second is kept from one event to the next."""
    one = factory()
    for moment in [*moments, *reversed(moments)]:
        body = one.from_mapping("c", {"id": 1} if with_id else {"a": 1}, moment).body
        stamp = parse_timestamp(strict(body)["timestamp"])
        assert abs(stamp.timestamp() - moment) < 2e-6


def test_threads_share_the_kept_second_without_mixing_it_up() -> None:
    one = factory()
    wrong: list[tuple[float, str]] = []

    def stamp(second: int) -> None:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
        for _ in range(5_000):
            made = one.from_mapping("c", {"a": 1}, float(second)).properties["timestamp"]
            if made != text:
                wrong.append((second, made))

    threads = [threading.Thread(target=stamp, args=(second,)) for second in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("created", [float("nan"), float("inf"), 1e300, YEAR_10000, -6.5e10])
def test_a_time_that_does_not_exist_makes_the_event_invalid(created: float) -> None:
    for properties in ({}, {"id": 1}, {"a": 1}):
        with pytest.raises(InvalidEventError, match="could not be encoded"):
            factory().from_mapping("c", properties, created)


@pytest.mark.parametrize(("created", "stamp"), [(-1.5, "1969-12-31T23:59:58.5"), (-6.2e10, "0005-04-19T09:46:40.0")])
def test_a_time_before_1970_has_a_stamp_as_any_other(created: float, stamp: str) -> None:
    made = sent({"a": 1}, created)["timestamp"]
    assert made == f"{stamp}00000Z"
    assert parse_timestamp(made).timestamp() == created


def test_generated_ids_are_time_ordered_and_unique() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert {(len(made), made[14]) for made in ids} == {(36, "7")}


FORKING = """
import os
from connect_logging.event import new_id

new_id()
for _ in range(4):
    if os.fork() == 0:
        break
os.write(1, "".join(new_id() + "\\n" for _ in range(50)).encode())
"""


def test_forked_children_make_other_ids_than_their_parent() -> None:
    """A generator that keeps its state over a fork gives every child the same ids."""
    forking = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=30, check=True)
    ids = forking.stdout.split()
    assert len(ids) == len(set(ids)) == 250


CHILD = """
import os
from connect_logging.event import new_id

new_id()
if os.fork() == 0:
    os.write(1, "".join(new_id() + "\\n" for _ in range(1_000)).encode())
"""


def test_a_forked_child_does_not_count_on_from_its_parents_ids() -> None:
    """Both would count the same numbers where the clock is set back: here seen by their order within a millisecond."""
    ids = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=30, check=True
    ).stdout.split()
    assert len(ids) == len(set(ids)) == 1_000
    assert ids != sorted(ids)


# --- the caller's dict


def test_the_callers_dict_is_neither_changed_nor_kept() -> None:
    properties = {"timestamp": datetime(2020, 1, 1), "nested": {"list": [1, {"a": 1}]}}
    before = copy.deepcopy(properties)
    event = factory().from_mapping("c", properties)
    assert properties == before
    body = event.body
    properties["nested"]["list"].append(2)  # type: ignore[index]
    del properties["timestamp"]
    assert (event.body, event.properties["nested"]) == (body, {"list": [1, {"a": 1}]})


def test_the_properties_are_a_new_dict_each_time() -> None:
    event = factory().from_mapping("c", {"a": [1]})
    event.properties["a"].append(2)
    assert event.properties["a"] == [1]


def test_an_event_is_frozen() -> None:
    event = Event("c", b"{}")
    with pytest.raises(AttributeError):
        event.body = b""  # type: ignore[misc]


class Colour(StrEnum):
    RED = "red"
    ID = "id"


class Size(IntEnum):
    SMALL = 1


class Timestamp(datetime):
    """A subclass of datetime, as pandas has one, here with a text of its own."""

    def isoformat(self, *_: object) -> str:  # type: ignore[override]
        return "a fine day"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        (OrderedDict(a=(1,)), {"a": [1]}),
        (defaultdict(list, {"a": [1]}), {"a": [1]}),
        (RaisingDict(a=[1]), {"a": [1]}),
        ([Colour.RED, Size.SMALL], ["red", 1]),
        (type("Float64", (float,), {})(1.5), 1.5),
        (type("Int64", (int,), {})(7), 7),
        (datetime(2020, 1, 1), "2020-01-01T00:00:00"),
        ([datetime(2020, 1, 1, tzinfo=UTC)], ["2020-01-01T00:00:00Z"]),
        (Timestamp(2020, 1, 1, 0, 0, 0, 1), "2020-01-01T00:00:00.000001"),
        (Timestamp(2020, 1, 1, tzinfo=UTC), "2020-01-01T00:00:00Z"),
    ],
)
def test_values_that_stand_for_json_are_sent_as_it(value: object, expected: object) -> None:
    assert sent({"a": value})["a"] == expected


def test_a_timestamp_may_be_of_a_subclass_of_datetime() -> None:
    assert sent({"timestamp": Timestamp(2020, 1, 1)})["timestamp"] == "2020-01-01T00:00:00Z"


def test_a_time_that_is_none_is_no_value() -> None:
    """A subclass of datetime, too, of which the encoder would make the year 1."""
    for name, words in (("a", "NaTType is not JSON"), ("timestamp", "timestamp must be a datetime")):
        with pytest.raises(InvalidEventError, match=words):
            sent({name: pandas.NaT})


def test_names_may_be_of_a_subclass_of_str() -> None:
    assert sent({Colour.RED: 1, Colour.ID: 2}) == {"red": 1, "id": 2, "timestamp": STAMP}


@pytest.mark.parametrize("kind", [MappingProxyType, OrderedDict, UserDict])
def test_any_readable_mapping_is_an_event(kind: Any) -> None:
    assert sent(kind({"a": {"b": 1}}))["a"] == {"b": 1}


def test_values_and_names_are_read_past_what_their_classes_say() -> None:
    assert sent({"a": [RaisingText("x")]})["a"] == ["x"]


# --- refusals


@pytest.mark.parametrize("properties", [None, [], "{}", [("a", 1)], 5, object()])
def test_what_is_no_mapping_is_refused(properties: Any) -> None:
    assert refusal(properties) == {"": f"an event is a dict of its properties, not {type(properties).__name__}"}


@pytest.mark.parametrize("collection", ["", "a/b", None, 5, ["c"], {}])
def test_a_bad_collection_is_refused_under_its_own_path(collection: Any) -> None:
    assert list(refusal({"a": 1}, collection)) == ["collection"]


def test_a_hostile_collection_is_refused() -> None:
    assert list(refusal({}, RaisingText("c"))) == ["collection"]
    assert list(refusal({}, Opaque())) == ["collection"]


def test_the_memory_of_collections_is_bounded() -> None:
    one = factory()
    for at in range(3_000):
        assert one.from_mapping(f"c{at}", {}).collection == f"c{at}"
    assert one._looks.of("c0") is not None
    assert one._looks.of("c2999") is None


def test_every_bad_property_is_named() -> None:
    assert set(refusal({"a.b": 1, "c": [float("nan")], "$d": {1}, "id": None})) == {"a.b", "c[0]", "$d", "id"}


@pytest.mark.parametrize("properties", [{"x": ""}, {"x": "", "id": 1}, {"x": "", "timestamp": "2020-01-01T00:00:00Z"}])
@pytest.mark.parametrize("filler", ["x", "é", "😀"])
def test_size_is_of_the_whole_body_in_bytes(properties: dict[str, Any], filler: str) -> None:
    room = MAX_EVENT_BYTES - len(factory().from_mapping("c", properties).body)
    count, rest = divmod(room, len(filler.encode()))
    largest = {**properties, "x": filler * count + "x" * rest}
    assert len(factory().from_mapping("c", largest).body) == MAX_EVENT_BYTES == 65_536
    errors = refusal({**largest, "x": largest["x"] + "x"})
    assert errors == {"": "an event has at most 65,536 bytes as JSON, not 65,537"}


def test_a_lone_surrogate_is_named_with_its_path() -> None:
    message = "the text holds a lone surrogate, which is not Unicode"
    assert refusal({"a": ["x", "\ud800"], "\udfff": 1}) == {"a[1]": message, "\\udfff": message}


def test_escapes_count_as_they_are_sent() -> None:
    assert refusal({"x": "\x00" * 60_000}).keys() == {""}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_are_refused_quickly_and_change_nothing(name: str) -> None:
    properties = {"before": 1, "hostile": HOSTILE[name](), "after": 2}
    before = list(properties), [id(value) for value in properties.values()]
    started = time.thread_time()
    errors = refusal(properties)
    assert time.thread_time() - started < 1
    assert errors
    for path, message in errors.items():
        f"{path}: {message}".encode()
    assert (list(properties), [id(value) for value in properties.values()]) == before


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - {"a mapping that is no dict"}))
def test_a_hostile_value_is_refused_as_the_event_itself(name: str) -> None:
    assert refusal(HOSTILE[name]())


def test_hostile_mappings_and_special_properties_are_refused() -> None:
    for mapping in (RaisingMapping(a=1), RaisingDict(a=1)):
        assert refusal(mapping) == {"": "the event could not be read: RuntimeError"}
    for make in HOSTILE.values():
        value = make()
        assert refusal({"id": value})
        assert refusal({"timestamp": value})
    assert refusal({"timestamp": datetime(2020, 1, 1, tzinfo=RaisingZone())})


def test_a_dict_that_changes_meanwhile_harms_nobody() -> None:
    """Another thread may go on with the dict that was logged; the event is one that was, or it is refused."""
    properties: dict[str, Any] = {"nested": {str(at): at for at in range(50)}}
    done = threading.Event()

    def change() -> None:
        at = 0
        while not done.is_set():
            at += 1
            properties["nested"][str(at % 100)] = at
            properties["nested"].pop(str((at + 50) % 100), None)
            properties["timestamp" if at % 2 else "id"] = "2020-01-01T00:00:00Z"
            properties.pop("id" if at % 2 else "timestamp", None)

    changer = threading.Thread(target=change)
    changer.start()
    one = factory()
    outcomes = {"sent": 0, "refused": 0}
    try:
        for _ in range(3_000):
            try:
                strict(one.from_mapping("c", properties).body)
                outcomes["sent"] += 1
            except InvalidEventError:
                outcomes["refused"] += 1
    finally:
        done.set()
        changer.join()
    assert outcomes["sent"]


# --- whatever the factory accepts


def assert_sent_whole(properties: dict[str, Any], event: Event) -> None:
    read = strict(event.body)
    expected = {"id": "made", "timestamp": STAMP, **as_json(properties)}
    if "timestamp" in properties:
        moment = parse_timestamp(properties["timestamp"])
        expected["timestamp"] = moment.isoformat().replace("+00:00", "Z")
    assert json.dumps(read, sort_keys=True) == json.dumps(expected, sort_keys=True)  # 1, 1.0 and True are not the same
    assert event.properties == read
    assert EventRules().check(msgspec.json.decode(event.body)) == []
    assert len(event.body) <= MAX_EVENT_BYTES


@settings(deadline=None)
@given(EVENTS)
def test_whatever_is_accepted_is_sent_whole(properties: dict[str, Any]) -> None:
    """The server finds valid JSON, the same values and no broken rule; all else is an InvalidEventError."""
    try:
        event = factory().from_mapping("c", properties)
    except InvalidEventError:
        return
    assert_sent_whole(properties, event)


@settings(deadline=None)
@given(GOOD_EVENTS)
def test_whatever_json_can_hold_is_accepted(properties: dict[str, Any]) -> None:
    assert_sent_whole(properties, factory().from_mapping("c", properties))


@given(GOOD_EVENTS, st.floats(1.0, 4e9))
def test_a_draft_becomes_the_event_that_it_would_have_been(properties: dict[str, Any], created: float) -> None:
    made = factory()
    made.from_mapping("c", properties)  # so that its names are known
    draft = made.draft("c", properties, created)
    [event] = OrderedCompletion().events([draft])
    at_once = made.from_mapping("c", properties, created)
    assert {**event.properties, "id": ""} == {**at_once.properties, "id": ""}
    if isinstance(draft, Draft):
        assert event.body.endswith(b"," + draft.body[1:])


def test_a_usual_event_is_left_a_draft() -> None:
    made = factory()
    usual = {"price": 34.95, "customer": {"name": "Tom"}}
    assert isinstance(made.draft("c", usual, NOW), Event), "the first time"
    draft = made.draft("c", usual, NOW)
    assert draft == Draft("c", b'{"price":34.95,"customer":{"name":"Tom"}}', NOW)


@pytest.mark.parametrize(
    ("properties", "created"),
    [({}, NOW), ({"a": 1, "id": 7}, NOW), ({"a": 1, "timestamp": STAMP}, NOW), ({"a": 1}, 0.0), ({"a": [[1]]}, NOW)],
)
def test_what_is_no_usual_event_is_completed_at_once(properties: dict[str, Any], created: float) -> None:
    made = factory()
    made.from_mapping("c", {"a": 1})
    assert made.draft("c", properties, created) == made.from_mapping("c", properties, created)


@pytest.mark.parametrize("created", [Decimal("1.5"), Fraction(3, 2), 7])
def test_no_draft_has_a_time_that_is_no_float(created: Any) -> None:
    """All of a batch would fail for it when they are completed."""
    made = factory()
    made.from_mapping("c", {"a": 1})
    try:
        assert isinstance(made.draft("c", {"a": 1}, created), Event)
    except InvalidEventError:
        assert isinstance(created, Decimal)


def test_an_event_of_a_known_shape_is_too_large_as_a_whole() -> None:
    made = factory()
    for _ in range(LEARN_AFTER[0] + 1):
        made.draft("c", {"a": "x", "b": ["x"]}, 0.5)
    half = MAX_EVENT_BYTES // 2
    for make in (made.draft, made.from_mapping):
        with pytest.raises(InvalidEventError, match="65,536"):
            make("c", {"a": "x" * half, "b": ["x" * half]}, 0.5)


def test_a_draft_that_completed_would_be_too_large_is_refused() -> None:
    made = factory()
    made.from_mapping("c", {"a": 1})
    fits = MAX_EVENT_BYTES - HEAD_BYTES - len('{"a":""}')
    assert isinstance(made.draft("c", {"a": "x" * fits}, NOW), Draft)
    long_id = EventFactory(EventRules(), lambda: NOW)
    long_id.from_mapping("c", {"a": 1})
    with pytest.raises(InvalidEventError, match="at most 65,536 bytes"):
        long_id.draft("c", {"a": "x" * (fits + 1)}, NOW)
    with pytest.raises(InvalidEventError, match="lone surrogate"):
        made.draft("c", {"a": "\ud800"}, NOW)
