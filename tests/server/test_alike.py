"""Batches whose events are alike are read as each event by itself would be, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging.rules import MAX_EVENT_BYTES
from connect_logging.server.alike import LEARN_AFTER, MOST_KNOWN, SURELY_SMALL, Alike
from connect_logging.server.ingest import Ingest
from connect_logging.server.stores.base import NewEvent, NewEvents, Stored
from connect_logging.server.stores.batch import Batch, Shape
from connect_logging.server.stores.duckdb_writing import structure
from connect_logging.server.timestamps import Timestamps

TIME = "2026-11-28T12:00:00.123456Z"


class Last:
    """Keeps what it was given last, and says of all that it is stored."""

    def __init__(self) -> None:
        self.batch: Any = None

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        [self.batch] = events.values()
        future: Future[Stored] = Future()
        future.set_result({collection: [True] * len(each) for collection, each in events.items()})
        return future


class Reading:
    """Pushes batches to a collection ``c``; ``seen``: events that came before."""

    def __init__(self, *seen: dict[str, Any]) -> None:
        self._store = Last()
        self._ingest = Ingest(self._store, clock=lambda: 0.0, make_id=lambda: "made")
        if seen:
            self.read(text([seen[number % len(seen)] for number in range(LEARN_AFTER)]))

    def read(self, events: str, project: str = "p") -> tuple[Any, list[str | None]]:
        """What the store was given of ``events``, and why others were refused."""
        self._store.batch = []
        _, failures = self._ingest._submit(project, f'{{"c":{events}}}'.encode())
        return self._store.batch, failures["c"]


def text(objects: Iterable[dict[str, Any]]) -> str:
    """An array of events with these properties."""
    heads = ({"id": f"id {number}", "timestamp": TIME} for number, _ in enumerate(iter(int, 1)))
    return json.dumps([{**head, **each} for head, each in zip(heads, objects, strict=False)])


def canonical(events: Iterable[tuple[str, int, bytes]]) -> list[tuple[str, int, str]]:
    """As is to be compared: with properties in one order."""
    return [(identity, time, json.dumps(json.loads(each), sort_keys=True)) for identity, time, each in events]


def outcome(read: tuple[Any, list[str | None]]) -> tuple[Any, list[bool]]:
    """To be compared: the events, and which were refused."""
    return canonical(read[0]), [failure is None for failure in read[1]]


EVENT: dict[str, Any] = {
    "type": "purchase",
    "price": 34.95,
    "count": 3,
    "is_new": True,
    "customer": {"country": "AU", "id": "c-1", "address": {"zip": "2000"}},
    "tags": ["a", "b"],
}
SHAPE: Shape = (
    ("type", "text"),
    ("price", "fraction"),
    ("count", "whole"),
    ("is_new", "boolean"),
    ("customer", (("country", "text"), ("id", "text"), ("address", (("zip", "text"),)))),
    ("tags", "texts"),
)


def test_events_that_are_alike_are_read_together() -> None:
    batch, failures = Reading(EVENT).read(text([EVENT, {**EVENT, "price": 1e22, "count": 0, "tags": []}]))
    assert isinstance(batch, Batch)
    assert batch.shape == SHAPE
    assert failures == [None, None]
    assert (batch.ids, batch.timestamps) == (["id 0", "id 1"], [1_795_867_200_123_456] * 2)
    assert canonical(batch)[0][2] == json.dumps(EVENT, sort_keys=True)


@pytest.mark.parametrize(
    "other",
    [{"price": -0.0}, {"count": 2**63 - 1}, {"type": '\u2028é\x00"\\'}, {"is_new": False}, {"tags": ["", "\n"]}],
)
def test_a_value_of_the_same_kind_is_no_other_shape(other: dict[str, Any]) -> None:
    batch, _ = Reading(EVENT).read(text([EVENT, {**EVENT, **other}]))
    assert batch.shape == SHAPE
    assert canonical(batch)[1][2] == json.dumps({**EVENT, **other}, sort_keys=True)


@pytest.mark.parametrize("other", [{"price": 34}, {"count": -1}, {"count": 0.5}])
def test_a_number_of_another_kind_is_kept_as_it_is_and_the_batch_has_no_shape(other: dict[str, Any]) -> None:
    batch, _ = Reading(EVENT).read(text([EVENT, {**EVENT, **other}]))
    assert isinstance(batch, Batch)
    assert batch.shape is None
    assert canonical(batch)[1][2] == json.dumps({**EVENT, **other}, sort_keys=True)


def test_the_shape_is_of_the_batch_and_not_of_the_events_before() -> None:
    reading = Reading(EVENT)
    shapes = [reading.read(text([{**EVENT, "price": price}]))[0].shape for price in (1, 1.5, 2)]
    assert [dict(shape)["price"] for shape in shapes] == ["whole", "fraction", "whole"]


WITHOUT_TAGS = {name: value for name, value in EVENT.items() if name != "tags"}


@pytest.mark.parametrize(
    "seen",
    [
        [EVENT, {**EVENT, "type": None}],
        [EVENT, {**EVENT, "type": 7}],
        [EVENT, {**EVENT, "tags": [1, None, "a"]}],
        [EVENT, WITHOUT_TAGS],
        [EVENT, {**EVENT, "customer": {}}],
    ],
)
def test_what_differs_from_event_to_event_is_read_together_without_a_shape(seen: list[dict[str, Any]]) -> None:
    batch, _ = Reading(*seen).read(text(seen))
    assert isinstance(batch, Batch)
    assert batch.shape is None
    assert [each[2] for each in canonical(batch)] == [json.dumps(each, sort_keys=True) for each in seen]


@pytest.mark.parametrize("event", [{"": 1}, {"a": 1, "A": 2}, {"a": {"b": "x", "B": "y"}}, {"a": {}}, {"a": None}])
def test_what_a_database_could_not_tell_by_its_shape_has_none(event: dict[str, Any]) -> None:
    batch, _ = Reading(event).read(text([event]))
    assert isinstance(batch, Batch)
    assert batch.shape is None
    assert canonical(batch)[0][2] == json.dumps(event, sort_keys=True)


@pytest.mark.parametrize(
    "events",
    [
        [{**EVENT, "more": 1}],
        [EVENT, WITHOUT_TAGS],
        [{**EVENT, "type": None}],
        [{**EVENT, "id": 7}],
        [{**EVENT, "timestamp": "yesterday"}],
        [{**EVENT, "count": 2**64 - 1}],
        [{**EVENT, "type": "x" * (MAX_EVENT_BYTES // 4)}],
        [{**EVENT, "type": "x" * MAX_EVENT_BYTES}],
        [{**EVENT, "id": "x" * MAX_EVENT_BYTES}],
        [{**EVENT, "customer": {"country": "AU", "id": "c-1", "address": {"z.ip": "2000"}}}],
    ],
)
def test_what_is_not_alike_is_read_one_by_one(events: list[dict[str, Any]]) -> None:
    learnt, unlearnt = Reading(EVENT).read(text(events)), Reading().read(text(events))
    assert not isinstance(learnt[0], Batch)
    assert outcome(learnt) == outcome(unlearnt)


@pytest.mark.parametrize("others", [1, 2_000], ids=["few", "many"])
@pytest.mark.parametrize("place", ["first", "last"])
def test_the_largest_of_alike_events_decides_whether_all_are_surely_small(place: str, others: int) -> None:
    reading = Reading(EVENT)

    def are_read_together(more: int) -> bool:
        """``more``: bytes of a document and an id beside what is surely small."""
        room = SURELY_SMALL - len(msgspec.json.encode({**EVENT, "type": ""})) - len(f"id {others}")
        events = [EVENT] * others
        events.insert(0 if place == "first" else others, {**EVENT, "type": "x" * (room + more)})
        batch, _ = reading.read(text(events))
        assert len(batch) == others + 1
        return isinstance(batch, Batch)

    assert (are_read_together(0), are_read_together(1)) == (True, False)


@pytest.mark.parametrize(
    "event",
    [
        {"a": [{"b": 1}]},
        {"a": [[1]]},
        {"a": {'"': 1}},
        {"\\": 1},
        {"\x1f": 1},
        {f"a{number}": number for number in range(65)},
        {f"a{number}": {f"b{other}": {} for other in range(8)} for number in range(8)},
        json.loads('{"a":' * 9 + "1" + "}" * 9),
    ],
)
def test_events_of_no_form_are_read_one_by_one(event: dict[str, Any]) -> None:
    batch, failures = Reading(event).read(text([event]))
    assert not isinstance(batch, Batch)
    assert (len(batch), failures) == (1, [None])


def test_an_object_here_and_none_there_has_no_form() -> None:
    seen = [{"a": {"b": 1}}, {"a": None}]
    batch, _ = Reading(*seen).read(text(seen))
    assert not isinstance(batch, Batch)


@pytest.mark.parametrize("events", ["[]", "{}", "[1]", "[{}]", "[null]", '[{"id":"1","id":"2"}]'])
def test_what_is_no_array_of_events_is_told_of_as_ever(events: str) -> None:
    def told(reading: Reading) -> Any:
        try:
            return reading.read(events)
        except Exception as error:
            return type(error), str(error)

    assert told(Reading(EVENT)) == told(Reading())


def test_a_name_given_twice_means_its_last_value() -> None:
    events = (
        '[{"id":"1","timestamp":"2026-11-28T12:00:00Z","a":1,"o":{"b":"x","b":"y"},"a":2.5,"id":"2"},'
        ' {"id":"3", "timestamp":"2026-11-28T12:00:00Z","\\u0061":1,"o":{"b":"x"},"o":{"b":"z"}}]'
    )
    learnt, unlearnt = Reading({"a": 1, "o": {"b": "x"}}).read(events), Reading().read(events)
    assert isinstance(learnt[0], Batch)
    assert outcome(learnt) == outcome(unlearnt)
    assert [each[2] for each in canonical(learnt[0])] == ['{"a": 2.5, "o": {"b": "y"}}', '{"a": 1, "o": {"b": "z"}}']


def test_collections_of_two_projects_are_two() -> None:
    reading = Reading(EVENT)
    assert isinstance(reading.read(text([EVENT]))[0], Batch)
    assert not isinstance(reading.read(text([EVENT]), project="q")[0], Batch)


def test_events_that_have_changed_are_learnt_anew_ever_later() -> None:
    alike = Alike(Timestamps())
    needed = []
    for number in range(5):
        event = {f"n{number}": 1}
        unlike = [NewEvent("1", 0, json.dumps(event).encode())] * LEARN_AFTER
        needed.append(0)
        while alike.read("p", "c", msgspec.Raw(text([event]).encode())) is None:
            alike.learn("p", "c", unlike)
            needed[-1] += LEARN_AFTER
    assert needed == [500, 5_000, 50_000, 500_000, 500_000]


def test_no_more_collections_are_known_than_may_be() -> None:
    alike = Alike(Timestamps())
    for number in range(MOST_KNOWN + 1):
        alike.learn("p", f"c{number}", [])
    assert len(alike._known) == MOST_KNOWN
    assert ("p", "c0") not in alike._known


NAMES = st.sampled_from(["a", "b", "B", "", "é", "a b", "x\u0000", "id", "p0", "timestamp_", "type", "😀"])
PLAIN: st.SearchStrategy[Any] = st.one_of(
    st.text(max_size=3),
    st.integers(-(2**63), 2**64 - 1) | st.integers(-2, 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
VALUES = st.recursive(
    PLAIN | st.lists(st.text(max_size=2), max_size=2) | st.lists(PLAIN, max_size=2),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=4,
)
SHAPED_NAMES = st.sampled_from(["a", "b", "é", "a b", "p0", "select", "VARCHAR", "$x", "'", "😀", "*"])
OBJECTS = st.dictionaries(NAMES.filter(lambda name: name != "id"), VALUES, max_size=4)


@st.composite
def similar(draw: st.DrawFn, seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of which some are as ``seen``, and others differ in a value or a name."""
    events = draw(st.lists(st.sampled_from(seen), min_size=1, max_size=3))
    if draw(st.booleans()):
        name = draw(NAMES.filter(lambda name: name != "id"))
        events[draw(st.integers(0, len(events) - 1))] = {**events[0], name: draw(VALUES)}
    return events


@given(st.data())
def test_whatever_was_learnt_an_event_is_read_as_by_itself(data: st.DataObject) -> None:
    seen = data.draw(st.lists(OBJECTS, min_size=1, max_size=2))
    events = text(data.draw(similar(seen)))
    learnt, unlearnt = Reading(*seen).read(events), Reading().read(events)
    assert outcome(learnt) == outcome(unlearnt)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


SHAPED = st.recursive(
    st.text(max_size=3)
    | st.integers(0, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.lists(st.text(max_size=2), max_size=3),
    lambda inner: st.dictionaries(SHAPED_NAMES, inner, min_size=1, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(SHAPED_NAMES, SHAPED, min_size=1, max_size=4))
def test_a_database_makes_the_same_of_a_document_by_its_shape(
    database: duckdb.DuckDBPyConnection, event: dict[str, Any]
) -> None:
    batch, _ = Reading(event).read(text([event]))
    [document] = batch.documents
    assert batch.shape is not None
    sql = "SELECT ?::JSON::VARIANT AS json, json_transform_strict(?, ?)::VARIANT AS shaped"
    shaped = [document.decode(), document.decode(), structure(batch.shape)]
    [same] = database.execute(
        "SELECT (json = shaped, json::JSON::VARCHAR = shaped::JSON::VARCHAR,"
        f" variant_typeof(json) = variant_typeof(shaped)) FROM ({sql})",
        shaped,
    ).fetchall()
    assert same == ((True, True, True),)
