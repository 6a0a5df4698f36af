"""Imports: every event once, however often they are begun; what is wrong is told with its place."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from oracle import Exchange, Oracle
from oracle_faults import RefuseEvents, Reset, Status
from pushing import CANARY, wait_for_pushers

from connect_logging import (
    ConnectClient,
    DamagedSourceError,
    ImportResult,
    InvalidEventError,
    RequestError,
    UnavailableError,
)
from connect_logging._importing import MAX_ERRORS, MAX_LINE
from connect_logging.exceptions import ClosedError

MakeClient = Callable[..., ConnectClient]


@pytest.fixture
def make_client(oracle: Oracle) -> Iterator[MakeClient]:
    made: list[ConnectClient] = []

    def make(**options: Any) -> ConnectClient:
        made.append(ConnectClient("p", CANARY, oracle.url, **options))
        return made[-1]

    yield make
    for client in made:
        client.close(0)


@pytest.fixture
def client(make_client: MakeClient) -> ConnectClient:
    return make_client()


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_a_file_of_lines_is_imported(oracle: Oracle, client: ConnectClient, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines({"id": 1, "$set": {"a": 1}}, {"id": 2}) + b"\r\n \n" + b'{"id": 3}')
    assert client.import_events(path, "a") == ImportResult(3, 0, 0, ())
    assert [event["id"] for event in oracle.events("a")] == [1, 2, 3]
    assert client.import_events(str(path), "a") == ImportResult(0, 3, 0, ())
    (tmp_path / "events.jsonl.gz").write_bytes(gzip.compress(lines({"id": 4})))
    assert client.import_events(tmp_path / "events.jsonl.gz", "a").imported_events == 1


@pytest.mark.parametrize(
    "source",
    [
        [{"id": "a", "at": datetime(2026, 1, 1, tzinfo=UTC)}],
        iter(['{"id": "a", "at": "2026-01-01T00:00:00Z"}']),
        io.BytesIO(b'{"id": "a", "at": "2026-01-01T00:00:00Z"}\n'),
    ],
    ids=["dicts", "texts", "an open file"],
)
def test_an_iterable_is_imported(oracle: Oracle, client: ConnectClient, source: Any) -> None:
    assert client.import_events(source, "a").imported_events == 1
    assert oracle.events("a")[0]["at"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", "\ufeff"], ids=["bytes", "text"])
def test_a_mark_at_the_front_of_a_source_is_no_part_of_its_first_event(client: ConnectClient, mark: Any) -> None:
    """Some editors write one. Elsewhere it is no JSON."""
    line: Any = b'{"n": 1}\n' if isinstance(mark, bytes) else '{"n": 1}\n'
    assert client.import_events([mark + line, line], "a") == ImportResult(2, 0, 0, ())
    assert client.import_events([line, mark + line], "a").event_errors[0][0] == 2
    assert client.import_events([mark], "a") == ImportResult(0, 0, 0, ())


@pytest.mark.parametrize("as_lines", [False, True])
def test_events_without_id_are_stored_once_as_well(oracle: Oracle, client: ConnectClient, as_lines: bool) -> None:
    events = [{"n": 1}, {"n": 1}, {"n": 2, "text": "ä", "at": datetime(2026, 1, 1, tzinfo=UTC)}]
    source: Any = [json.dumps(event, default=str) for event in events] if as_lines else events
    assert client.import_events(source, "a").imported_events == 3
    assert client.import_events(iter(source), "a") == ImportResult(0, 3, 0, ())
    assert events[0] == {"n": 1}, "the caller's dict is never changed"


def test_a_line_is_the_same_whether_text_or_bytes(client: ConnectClient) -> None:
    client.import_events(['{"n": "ä"}'], "a")
    assert client.import_events(['  {"n": "ä"} \n'.encode()], "a").duplicate_events == 1


def test_what_is_wrong_is_told_with_its_place(oracle: Oracle, client: ConnectClient) -> None:
    oracle.fail(RefuseEvents(), times=None)
    source: list[Any] = [
        {"id": 1},
        "{not json}",
        b"\xff",
        "[1]",
        {"_id": 1},
        7,
        "",
        {"id": 8, "poison": True},
        {"id": 9, "x": {1, 2}},
        {"x": object()},
        "[" * 100_000,
        {"x": "\ud800"},
    ]
    result = client.import_events(source, "a")
    assert (result.imported_events, result.duplicate_events, result.refused_events) == (1, 0, 10)
    places = dict(result.event_errors)
    assert [*places] == [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    assert "no event as JSON in one line" in places[2]
    assert "reserved" in places[5]
    assert "dict" in places[6]
    assert places[8] == "poisoned"


def test_errors_are_told_up_to_a_number(client: ConnectClient) -> None:
    result = client.import_events(("x" for _ in range(MAX_ERRORS + 5)), "a")
    assert (result.refused_events, len(result.event_errors)) == (MAX_ERRORS + 5, MAX_ERRORS)


def test_a_line_without_end_is_not_read_into_memory(client: ConnectClient, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id": 1}\n{"x": "' + b"x" * (3 * MAX_LINE) + b'"}\n{"id": 3}\n')
    result = client.import_events(path, "a")
    assert (result.imported_events, [place for place, _ in result.event_errors]) == (2, [2])


def test_a_collection_that_cannot_be_is_told_at_once(oracle: Oracle, client: ConnectClient) -> None:
    with pytest.raises(InvalidEventError, match="collection"):
        client.import_events([{"id": 1}, {"id": 2}], "a/b")
    assert oracle.requests == []


def test_batches_are_as_large_as_they_may_be(oracle: Oracle, client: ConnectClient) -> None:
    result = client.import_events(({"id": n} for n in range(30_000)), "a")
    assert result.imported_events == 30_000
    sizes = [len(request.batch["a"]) for request in oracle.requests]
    assert max(sizes) == 5_000
    assert len(sizes) < 20


def test_progress_is_told_as_it_is_made(oracle: Oracle, client: ConnectClient) -> None:
    told: list[ImportResult] = []
    result = client.import_events(({"id": n} for n in range(25_000)), "a", progress=told.append)
    counts = [each.imported_events for each in told]
    assert counts == sorted(counts)
    assert any(0 < count < 25_000 for count in counts)
    assert told[-1] == result
    assert len(told) < 1_000, "now and then, not of each event"


def test_an_outage_is_ridden_out_and_no_lost_answer_makes_a_duplicate(oracle: Oracle, client: ConnectClient) -> None:
    oracle.fail(Reset())
    oracle.fail(Status(503))
    assert client.import_events(({"id": n} for n in range(100)), "a") == ImportResult(0, 100, 0, ())
    assert len(oracle.stored) == 100


def test_an_import_that_broke_off_goes_on_when_it_is_started_again(oracle: Oracle, make_client: MakeClient) -> None:
    client = make_client(retry_for=0.1)
    assert client.import_events(({"n": n} for n in range(10)), "a").imported_events == 10

    def then_away(exchange: Exchange) -> None:
        exchange.answer()
        oracle.fail(Status(503), times=None)

    oracle.fail(then_away)
    with pytest.raises(UnavailableError, match="start it again") as caught:
        client.import_events(({"n": n} for n in range(200_000)), "a")
    assert caught.value.http_status == 503
    stored = len(oracle.stored)
    assert 10 < stored <= 5_000
    assert f"{stored:,} events are stored" in str(caught.value)
    oracle.heal()
    assert client.import_events(({"n": n} for n in range(7_000)), "a") == ImportResult(7_000 - stored, stored, 0, ())
    assert sorted(event["n"] for event in oracle.events("a")) == [*range(7_000)]


def test_that_nobody_answers_may_pass(oracle: Oracle, make_client: MakeClient) -> None:
    oracle.refuse()
    with pytest.raises(UnavailableError, match=r"refused.* 0 events are stored; start it again") as caught:
        make_client(retry_for=0.1).import_events([{"n": 1}], "a")
    assert caught.value.http_status is None


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_address_stops_it(oracle: Oracle, client: ConnectClient, status: int) -> None:
    oracle.fail(Status(status), times=None)
    with pytest.raises(RequestError) as caught:
        client.import_events(({"id": n} for n in range(1_000_000)), "a")
    assert (type(caught.value), caught.value.http_status) == (RequestError, status)
    assert len(oracle.requests) < 10


def test_a_source_that_fails_stops_it(oracle: Oracle, client: ConnectClient, tmp_path: Path) -> None:
    def failing() -> Iterator[dict[str, int]]:
        yield {"id": 1}
        raise KeyError("the source's own")

    with pytest.raises(KeyError):
        client.import_events(failing(), "a")
    with pytest.raises(FileNotFoundError):
        client.import_events(tmp_path / "missing.jsonl", "a")
    packed = gzip.compress(lines({"id": 1}))
    for damaged in (packed[:-4], b"{" + packed, packed[:12] + b"\xff" * 20):
        (tmp_path / "damaged.gz").write_bytes(damaged)
        with pytest.raises(DamagedSourceError, match=r"damaged\.gz is damaged: .*Import it again"):
            client.import_events(tmp_path / "damaged.gz", "a")
    wait_for_pushers()


def test_a_closed_client_imports_nothing(client: ConnectClient) -> None:
    client.close()
    with pytest.raises(ClosedError):
        client.import_events([], "a")


def test_events_of_two_sources_are_never_taken_for_one(oracle: Oracle, client: ConnectClient, tmp_path: Path) -> None:
    """Without ids they may well agree in a line at the same place."""
    for name in ("monday.jsonl", "tuesday.jsonl"):
        (tmp_path / name).write_bytes(lines({"n": 1}))
        assert client.import_events(tmp_path / name, "a") == ImportResult(1, 0, 0, ())
    assert client.import_events(tmp_path / "monday.jsonl", "a") == ImportResult(0, 1, 0, ())
    for name in ("a stream", "another"):
        assert client.import_events([{"n": 1}], "a", name=name).imported_events == 1
    again = client.import_events([lines({"n": 1})], "a", name=str(tmp_path / "monday.jsonl"))
    assert again == ImportResult(0, 1, 0, ()), "the same lines under the same name"
