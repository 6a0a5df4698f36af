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
        ({"or": [{"tenant": 2}, {}]}, 2),
        ({"or": [{"tenant": 2}, {"price": 10}]}, 1),
        (None, 2),
    ):
        found = answer(shop, {"filter": filters}, headers).json()["results"]
        assert found == [{"_count": count}], filters
    assert shop.request("POST", "/events/shop", {}, headers=headers).status_code == 401


def test_the_filters_of_a_key_may_be_alternatives(shop: ServerProcess) -> None:
    definition = {"filters": {"or": [{"tenant": 2}, {"price": 4}]}, "canQuery": True, "canPush": False}
    headers = {"X-Project-Id": shop.project_id, "X-Api-Key": encrypt_filtered_key(definition, shop.keys["master"])}
    for filters, count in (({}, 2), ({"tenant": 1}, 1), ({"or": [{"price": 4}, {"price": 10}]}, 1)):
        assert answer(shop, {"filter": filters}, headers).json()["results"] == [{"_count": count}], filters


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


@pytest.fixture(scope="module")
def clocks(server: ServerProcess) -> ServerProcess:
    """Events around the hour that occurs twice in Berlin."""
    times = ("2015-10-24T21:59:59Z", "2015-10-25T00:30:00Z", "2015-10-25T01:30:00Z", "2015-10-25T22:59:59.999999Z")
    server.push("clocks", *({"timestamp": time, "n": place} for place, time in enumerate(times)))
    return server


def ask_clocks(server: ServerProcess, **query: Any) -> Any:
    return server.request("GET", "/events/clocks", params={"query": json.dumps({"select": {"n": "count"}, **query})})


def test_a_day_of_25_hours_is_one_interval(clocks: ServerProcess) -> None:
    document = ask_clocks(clocks, interval="daily", timezone="Europe/Berlin").json()
    assert document == {
        "metadata": {"groups": [], "interval": "daily", "timezone": "Europe/Berlin"},
        "results": [
            {"interval": {"start": "2015-10-23T22:00:00Z", "end": "2015-10-24T22:00:00Z"}, "results": [{"n": 1}]},
            {"interval": {"start": "2015-10-24T22:00:00Z", "end": "2015-10-25T23:00:00Z"}, "results": [{"n": 3}]},
        ],
    }


def test_an_hour_that_occurs_twice_is_two_intervals(clocks: ServerProcess) -> None:
    timeframe = {"start": "2015-10-25T00:00:00Z", "end": "2015-10-25T03:00:00Z"}
    document = ask_clocks(clocks, interval="hourly", timezone="Europe/Berlin", timeframe=timeframe).json()
    assert [(each["interval"]["start"], each["results"]) for each in document["results"]] == [
        ("2015-10-25T00:00:00Z", [{"n": 1}]),
        ("2015-10-25T01:00:00Z", [{"n": 1}]),
        ("2015-10-25T02:00:00Z", []),
    ]


def test_a_limit_is_for_each_interval(clocks: ServerProcess) -> None:
    query = {"interval": "yearly", "groupBy": "n", "orderBy": {"n": "desc"}, "limit": 3}
    [year] = ask_clocks(clocks, **query, select={}).json()["results"]
    assert [row["n"] for row in year["results"]] == [3, 2, 1]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"interval": "minutely", "timeframe": {"previous": {"days": 7}}}, 413),
        ({"interval": "minutely", "timeframe": {"start": "2010-01-01T00:00:00Z", "end": "2016-01-01T00:00:00Z"}}, 413),
        ({"interval": "minutely", "timeframe": {"previous": {"days": 7}}, "nonEmpty": True}, 200),
        ({"interval": "daily", "timezone": "Japan/Tokyo"}, 422),
        ({"timezone": 10}, 422),
    ],
)
def test_what_is_too_much_or_unknown(clocks: ServerProcess, query: Any, status: int) -> None:
    found = ask_clocks(clocks, **query)
    assert found.status_code == status, found.text
    if status == 413:
        assert "nonEmpty" in found.json()["errorMessage"]
    if status == 422:
        assert [error["field"] for error in found.json()["errors"]] == ["timezone"]


def test_an_answer_that_one_has_is_not_sent_again(clocks: ServerProcess) -> None:
    tag = ask_clocks(clocks).headers["ETag"]

    def ask(tags: str) -> Any:
        headers = {**clocks.headers(), "If-None-Match": tags}
        return clocks.request("GET", "/events/clocks?query={}", headers=headers)

    [whole] = {ask(tags).status_code for tags in ("", '"x"', tag, tag.strip('"'))}
    assert whole == 200
    tag = ask("").headers["ETag"]
    for tags in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        found = ask(tags)
        assert (found.status_code, found.content, found.headers["ETag"]) == (304, b"", tag)
        assert found.headers["Access-Control-Allow-Origin"] == "*"
    clocks.push("clocks", {"timestamp": "2014-01-01T00:00:00Z"})
    assert ask(tag).status_code == 200


def test_a_long_question_is_a_body(shop: ServerProcess) -> None:
    long = {"filter": {"price": [10, *(number + 0.5 for number in range(9_000))]}, "groupBy": "customer.name"}
    found = shop.request("POST", "/events/shop/query", long)
    assert [row["_count"] for row in found.json()["results"]] == [2]
    short = {"groupBy": "customer.name"}
    one, other = answer(shop, short), shop.request("POST", "/events/shop/query", short)
    assert (one.content, one.headers["ETag"]) == (other.content, other.headers["ETag"])
    assert shop.request("POST", "/events/shop/query", b"{select:1}").status_code == 422
    assert shop.request("POST", "/events/shop/query", b" " * 1_048_577).status_code == 413
    assert shop.request("POST", "/events/shop/query", {}, headers=shop.headers("push")).status_code == 401
    assert shop.request("POST", "/events/a%2Bb/query", {}).status_code == 422
