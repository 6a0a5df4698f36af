"""Asking over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from server_process import ServerProcess

from connect_logging.security import encrypt_filtered_key


@pytest.fixture(scope="module")
def shop(server: ServerProcess) -> ServerProcess:
    server.push(
        "shop",
        {"price": 10, "customer": {"name": "Tom"}, "tenant": 1},
        {"price": 2.5, "customer": {"name": "Tom"}, "tenant": 2},
        {"price": 4, "customer": {"name": "Ann"}, "tenant": 1},
        {"tenant": 1},
    )
    return server


def answer(server: ServerProcess, query: Any, headers: dict[str, str] | None = None) -> Any:
    return server.request("GET", "/events/shop", params={"query": json.dumps(query)}, headers=headers)


def test_the_answer_has_the_documented_shape(shop: ServerProcess) -> None:
    query = {"select": {"n": "count", "total": {"sum": "price"}}, "groupBy": "customer.name"}
    assert answer(shop, query).json() == {
        "metadata": {"groups": ["customer.name"], "interval": None, "timezone": None},
        "results": [
            {"customer.name": "Ann", "n": 1, "total": 4},
            {"customer.name": "Tom", "n": 2, "total": 12.5},
            {"customer.name": None, "n": 1, "total": None},
        ],
    }


def test_an_unknown_collection_answers_like_an_empty_one(shop: ServerProcess) -> None:
    document = '{"select":{"n":"count","s":{"sum":"x"}}}'
    found = shop.request("GET", "/events/never", params={"query": document})
    assert found.json()["results"] == [{"n": 0, "s": None}]


def test_the_documentations_own_spelling_is_read(shop: ServerProcess) -> None:
    found = shop.request("GET", "/events/shop", params={"query": "{select:{totalPrice:{sum:'price'}}}"})
    assert found.json()["results"] == [{"totalPrice": 16.5}]


def test_the_etag_changes_with_the_answer(shop: ServerProcess) -> None:
    one, same, other = (answer(shop, {"filter": {"tenant": tenant}}).headers["ETag"] for tenant in (1, 1, 2))
    assert one == same != other


def test_no_query_can_leave_the_filters_of_its_key(shop: ServerProcess) -> None:
    definition = {"filters": {"tenant": 1, "price": {"gt": 3}}, "canQuery": True, "canPush": False}
    key = encrypt_filtered_key(definition, shop.keys["master"])
    headers = {"X-Project-Id": shop.project_id, "X-Api-Key": key}
    for filters, count in (
        ({}, 2),
        ({"tenant": 1}, 2),
        ({"tenant": 2}, 0),
        ({"tenant": {"neq": 1}}, 0),
        ({"price": {"gt": 0}}, 2),
        ({"price": {"gt": 5}}, 1),
        ({"tenant": {"in": [1, 2]}}, 2),
        (None, 2),
    ):
        found = answer(shop, {"filter": filters}, headers).json()["results"]
        assert found == [{"_count": count}], filters
    assert shop.request("POST", "/events/shop", {}, headers=headers).status_code == 401


def test_more_than_10000_rows_are_too_many(server: ServerProcess) -> None:
    for part in range(2):
        server.push("many", *({"n": part * 5_000 + n} for n in range(5_000)))
    document = '{"groupBy":"n"}'
    full = server.request("GET", "/events/many", params={"query": document})
    assert len(full.json()["results"]) == 10_000
    server.push("many", {"n": -1})
    over = server.request("GET", "/events/many", params={"query": document})
    assert over.status_code == 413
    assert "10,000" in over.json()["errorMessage"]


def test_time_is_refused_by_name_in_this_version(server: ServerProcess) -> None:
    for field, value in (("timeframe", "tomorrow"), ("interval", "daily"), ("timezone", 10)):
        found = server.request("GET", "/events/x", params={"query": json.dumps({field: value})})
        assert found.status_code == 422
        assert [error["field"] for error in found.json()["errors"]] == [field]
