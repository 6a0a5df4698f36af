"""Looks: they find valid what they were made after, and nothing that the rules would not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import pytest
from hostile import HOSTILE, RaisingText, nested
from hypothesis import given
from hypothesis import strategies as st
from strategies import ANYTHING, EVENTS, GOOD_EVENTS

from connect_logging._shapes import COLLECTIONS_KNOWN, LEARN_AFTER, MOST_LOOKS, Looks, look_at_shape
from connect_logging.rules import MAX_EVENT_BYTES, MAX_INTEGER, MIN_INTEGER, EventRules

SEEN = {
    "text": "x",
    "whole": 1,
    "real": 1.5,
    "yes": True,
    "none": None,
    "list": ["a", 1],
    "inner": {"text": "y", "deeper": {"whole": 2, "deepest": {"real": 0.5}}},
}
PLACES = ["text", "whole", "real", "yes", "none", "list"]


def with_value(place: str, value: Any) -> dict[str, Any]:
    return {**SEEN, place: value}


def deep_with(value: Any) -> dict[str, Any]:
    return {**SEEN, "inner": {"text": "y", "deeper": {"whole": 2, "deepest": {"real": value}}}}


@given(GOOD_EVENTS, st.data())
def test_what_a_look_finds_valid_is_valid(seen: dict[str, Any], data: st.DataObject) -> None:
    look = look_at_shape(seen)
    if look is None:
        return
    assert look(seen), "it was made after this one"
    event = data.draw(EVENTS | st.fixed_dictionaries({name: st.just(value) | ANYTHING for name, value in seen.items()}))
    before = repr(event)
    if look(event):
        assert EventRules().check(event) == []
    assert repr(event) == before


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", [None, True, 0, -(2**29), 2**29, MIN_INTEGER, MAX_INTEGER, -0.0, 1e308])
def test_a_value_may_be_another_plain_one(place: str, value: object) -> None:
    look = look_at_shape(SEEN)
    assert look is not None
    assert look(with_value(place, value))
    assert look(deep_with(value))


@pytest.mark.parametrize("value", [["b"], [None, 2.5, True, "x" * 1000], []])
def test_a_list_holds_as_many_plain_values_as_it_likes(value: list[object]) -> None:
    look = look_at_shape(SEEN)
    assert look is not None
    assert look(with_value("list", value))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "value",
    [
        MAX_INTEGER + 1,
        MIN_INTEGER - 1,
        float("nan"),
        float("inf"),
        (1,),
        b"x",
        {1},
        1j,
        "x" * MAX_EVENT_BYTES,
        ["x" * MAX_EVENT_BYTES],
        [0] * MAX_EVENT_BYTES,
        [0] * (MAX_EVENT_BYTES + 1),
        [[]],
        [{}],
        [float("nan")],
        {"a": 1},
        nested(3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_is_left_to_the_rules(place: str, value: object) -> None:
    look = look_at_shape(SEEN)
    assert look is not None
    assert not look(with_value(place, value))
    assert not look(deep_with(value))


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "a lone surrogate"])  # the encoder finds it
def test_what_is_hostile_is_left_to_the_rules(name: str) -> None:
    look = look_at_shape(SEEN)
    assert look is not None
    value = HOSTILE[name]()  # some take long to make
    assert not look(deep_with(value))
    for place in PLACES:
        assert not look(with_value(place, value)), place
        assert not look(with_value(place, [value])), place


@pytest.mark.parametrize(
    "event",
    [
        {},
        {**SEEN, "more": 1},
        {name: value for name, value in SEEN.items() if name != "text"},
        {**{name: value for name, value in SEEN.items() if name != "text"}, "id": 1},
        {**SEEN, "inner": {"text": "y"}},
        {**SEEN, "inner": {"text": "y", "$deeper": None}},
    ],
    ids=lambda event: ",".join(event),
)
def test_other_names_are_left_to_the_rules(event: dict[str, Any]) -> None:
    look = look_at_shape(SEEN)
    assert look is not None
    assert not look(event)


def test_names_that_cannot_be_compared_are_left_to_the_rules() -> None:
    look = look_at_shape({"text": 1})
    assert look is not None
    assert not look({RaisingText("text"): 1})
    assert look_at_shape({RaisingText("text"): 1}) is None


@pytest.mark.parametrize(
    "name", ["'", '"', "\\", "\n", "{}", "{v}", "%s", "v1", "#", "é", "😀", "", "\0", "')or exit('"]
)
def test_names_are_literals(name: str) -> None:
    look = look_at_shape({name: "x", "inner": {name: 1}})
    assert look is not None
    assert look({name: "y", "inner": {name: 2}})
    assert not look({"other": "y", "inner": {name: 2}})


@pytest.mark.parametrize(
    "event",
    [
        {"id": 1},
        {"timestamp": "2020-01-01T00:00:00Z"},
        {f"n{at}": at for at in range(65)},
        {"a": {f"n{at}": at for at in range(64)}},
        nested(9),
        {"a": (1,)},
        {"a": [[1]]},
    ],
    ids=["id", "timestamp", "wide", "wide inside", "deep", "a tuple", "a list in a list"],
)
def test_the_unusual_has_no_look(event: dict[str, Any]) -> None:
    assert look_at_shape(event) is None


def test_id_and_timestamp_are_names_like_others_further_in() -> None:
    look = look_at_shape({"a": {"id": 1, "timestamp": "x"}})
    assert look is not None
    assert look({"a": {"id": None, "timestamp": "y"}})


def learnt(looks: Looks, collection: str, event: dict[str, Any]) -> bool:
    look = looks.of(collection)
    assert look is not None
    return look(event)


def test_a_collection_has_a_look_once_many_events_were_alike() -> None:
    looks = Looks(EventRules())
    looks.know("c")
    for number in range(1, LEARN_AFTER[0] + 1):
        assert not learnt(looks, "c", SEEN), number
        looks.learn("c", SEEN)
    assert learnt(looks, "c", SEEN)


def log(looks: Looks, events: Iterable[dict[str, Any]]) -> None:
    """As a factory does: only what its look does not know teaches a collection."""
    for event in events:
        if not learnt(looks, "c", event):
            looks.learn("c", event)


def test_a_look_follows_events_that_change_but_not_for_ever() -> None:
    looks = Looks(EventRules())
    looks.know("c")
    shapes: list[dict[str, Any]] = [{f"n{at}": "x"} for at in range(len(LEARN_AFTER) + 1)]
    for shape in shapes[:-1]:
        log(looks, [shape] * LEARN_AFTER[-1])
        assert learnt(looks, "c", shape)
    log(looks, [shapes[-1]] * LEARN_AFTER[-1])
    assert not learnt(looks, "c", shapes[-1])


def test_a_rare_shape_does_not_take_the_place_of_the_usual_one() -> None:
    looks = Looks(EventRules())
    looks.know("c")
    usual, rare = {"a": 1}, {"b": 1}
    log(looks, [usual] * LEARN_AFTER[0])
    log(looks, [rare, *[usual] * 6] * LEARN_AFTER[1])
    assert looks._unlike["c"] > LEARN_AFTER[1], "so it was given up and made again"
    assert learnt(looks, "c", usual)


def test_a_closer_look_learns_from_what_is_valid_alone() -> None:
    rules = EventRules()
    looks = Looks(rules)
    looks.know("c")
    assert rules.check({"a": 1}) == []
    for _ in range(LEARN_AFTER[0]):
        assert not looks.closer("c", {"a": float("nan")})
    assert not learnt(looks, "c", {"a": 1})
    for _ in range(LEARN_AFTER[0]):
        assert looks.closer("c", {"a": 1})
    assert learnt(looks, "c", {"a": 1})


def test_looks_and_collections_are_bounded() -> None:
    looks = Looks(EventRules())
    names = [f"c{at}" for at in range(COLLECTIONS_KNOWN + 1)]
    for name in names:
        looks.know(name)
    assert [looks.of(name) is not None for name in names] == [True] * COLLECTIONS_KNOWN + [False]
    for name in names:
        for _ in range(LEARN_AFTER[0]):
            looks.learn(name, {"a": 1})
    assert [learnt(looks, name, {"a": 1}) for name in names[:-1]].count(True) == MOST_LOOKS


def test_an_event_that_was_changed_after_it_was_found_valid_teaches_nothing() -> None:
    """Whoever logs may do that in another thread."""
    looks = Looks(EventRules())
    looks.know("c")
    changed = {**SEEN, "a.b": 1}
    for _ in range(LEARN_AFTER[0]):
        looks.learn("c", changed)
    assert not learnt(looks, "c", changed)


def test_a_value_that_cannot_be_copied_teaches_nothing() -> None:
    class Uncopied(str):
        __slots__ = ()

        def __deepcopy__(self, _: object) -> NoReturn:
            raise RuntimeError("hostile")

    looks = Looks(EventRules())
    looks.know("c")
    for _ in range(LEARN_AFTER[0]):
        looks.learn("c", {"a": Uncopied("x")})
    assert not learnt(looks, "c", {"a": "x"})
