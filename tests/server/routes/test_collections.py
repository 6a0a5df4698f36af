"""Collections over HTTP: listed, described, deleted."""

from __future__ import annotations

import pytest
from conftest import Serve
from server_process import ServerProcess

from connect_logging.security import encrypt_filtered_key

AT_NINE = {"timestamp": "2026-03-01T09:30:00+01:00", "price": 7, "customer": {"country": "AU"}}
AT_TEN = {"timestamp": "2026-03-01T10:00:00.123456Z", "price": None}


@pytest.fixture(scope="module")
def shop(server: ServerProcess) -> ServerProcess:
    server.push("shop", {"id": 1, **AT_NINE}, {"id": 2, **AT_TEN})
    server.push("a b.c", {"id": "x", "timestamp": "2026-03-01T10:00:00Z"})
    return server


def test_collections_are_listed_by_name(shop: ServerProcess) -> None:
    assert shop.request("GET", "/collections").json() == {
        "collections": [
            {
                "name": "a b.c",
                "events": 1,
                "bytes": 53,
                "firstEvent": "2026-03-01T10:00:00.000Z",
                "lastEvent": "2026-03-01T10:00:00.000Z",
            },
            {
                "name": "shop",
                "events": 2,
                "bytes": 157,
                "firstEvent": "2026-03-01T08:30:00.000Z",
                "lastEvent": "2026-03-01T10:00:00.123Z",
            },
        ]
    }


def test_one_is_described_with_its_properties(shop: ServerProcess) -> None:
    described = shop.request("GET", "/collections/shop").json()
    assert described.pop("properties") == [
        {"name": "customer.country", "types": ["string"]},
        {"name": "price", "types": ["number", "null"]},
    ]
    assert described == shop.request("GET", "/collections").json()["collections"][1]
    assert shop.request("GET", "/collections/a+b.c").json()["properties"] == []


def test_a_collection_that_is_not_there_is_404_and_a_bad_name_422(shop: ServerProcess) -> None:
    for method in ("GET", "DELETE"):
        absent = shop.request(method, "/collections/nope")
        assert (absent.status_code, absent.json()) == (404, {"errorMessage": "there is no collection 'nope'"})
        bad = shop.request(method, "/collections/a%00")
        assert bad.status_code == 422
        assert bad.json()["errors"][0]["field"] == "collection"
        assert shop.request(method, "/collections/..%2f..%2fx").status_code == 404


def test_each_key_may_what_the_contract_says(shop: ServerProcess) -> None:
    filtered = encrypt_filtered_key({"filters": {}, "canQuery": True, "canPush": True}, shop.keys["master"])
    keys = {**shop.keys, "filtered": filtered}
    may_read = {"query", "push_query", "master"}
    for name, key in keys.items():
        headers = {"X-Project-Id": shop.project_id, "X-Api-Key": key}
        for target in ("/collections", "/collections/shop"):
            assert (shop.request("GET", target, headers=headers).status_code == 200) == (name in may_read), name
        expected = 404 if name == "master" else 401
        assert shop.request("DELETE", "/collections/nope", headers=headers).status_code == expected, name


def test_a_deletion_is_on_disk_when_it_is_answered(serve: Serve) -> None:
    server = serve()
    server.push("gone", *({"n": number} for number in range(100)))
    server.push("kept", {})
    deleted = server.request("DELETE", "/collections/gone")
    server.kill()
    assert (deleted.status_code, deleted.content, deleted.headers["Content-Type"]) == (200, b"", "application/json")
    server.restart()
    assert [each["name"] for each in server.request("GET", "/collections").json()["collections"]] == ["kept"]
    assert server.query("gone", {}) == [{"_count": 0}]
    server.push("gone", {"n": 1})
    assert server.count("gone") == 1
