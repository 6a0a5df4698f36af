"""Invariant 9: what the client accepts, the server accepts, and answers queries with the same values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from time import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_process import ServerProcess
from strategies import EVENTS, GOOD_EVENTS

from connect_logging.event import Event, EventFactory
from connect_logging.exceptions import InvalidEventError
from connect_logging.rules import EventRules


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    """For collections that no other example has."""
    return count()


def accepted(properties: dict[str, Any]) -> Event | None:
    try:
        return EventFactory(EventRules(("$",)), time).from_mapping("c", properties)
    except InvalidEventError:
        return None


def push(server: ServerProcess, collection: str, events: list[Event]) -> list[dict[str, Any]]:
    body = json.dumps(collection).encode() + b":[" + b",".join(event.body for event in events) + b"]"
    answer = server.request("POST", "/events", b"{" + body + b"}")
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()[collection]
    return results


@settings(deadline=None)
@given(drawn=st.lists(EVENTS, min_size=1, max_size=20))
def test_the_server_accepts_whatever_the_client_does(
    server: ServerProcess, numbers: Iterator[int], drawn: list[dict[str, Any]]
) -> None:
    events = [event for event in map(accepted, drawn) if event]
    results = push(server, f"any{next(numbers)}", events)
    assert [result["success"] for result in results] == [True] * len(events), results


def leaves(properties: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(path as a query names it, value) of what lies in no list; a query cannot name an empty name, nor the id."""
    for name, value in properties.items():
        if isinstance(value, dict) and name:
            yield from leaves(value, f"{path}{name}.")
        elif not isinstance(value, list | dict) and name and f"{path}{name}" not in {"id", "timestamp"}:
            yield f"{path}{name}", value


@settings(deadline=None)
@given(properties=GOOD_EVENTS)
def test_a_query_finds_the_values_that_were_sent(
    server: ServerProcess, numbers: Iterator[int], properties: dict[str, Any]
) -> None:
    event = accepted(properties)
    assert event
    collection = f"good{next(numbers)}"
    assert push(server, collection, [event])[0] == {"success": True, "duplicate": False, "message": None}
    expected = dict(leaves(event.properties))
    [row] = server.query(collection, {"select": {}, "groupBy": list(expected)})
    row.pop("_count", None)
    assert row == expected
    assert [type(row[path]) is bool for path in expected] == [type(value) is bool for value in expected.values()]
