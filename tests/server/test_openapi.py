"""The document tells of every route, and of no other, and is a valid one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backed import backed
from starlette.routing import Route

from connect_logging.server.app import make_app
from connect_logging.server.openapi import Answer, Component, Description, Operation, json_content, openapi
from connect_logging.server.settings import Settings

from .asgi import ask
from .conftest import MakeStored


@pytest.fixture
def app(tmp_path: Path) -> Any:
    return make_app(Settings(tmp_path), backed(tmp_path, None))


def inner(app: Any) -> Any:
    while not hasattr(app, "routes"):
        app = app._app
    return app


def test_it_has_the_routes_of_the_app_and_no_others(app: Any) -> None:
    answer = ask(app, "GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    paths = answer.json()["paths"]
    documented = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    routes = {(method, route.path) for route in inner(app).routes for method in route.methods - {"HEAD"}}
    assert documented == routes


def test_every_operation_has_an_id_of_its_own_and_tells_when_each_error_comes(app: Any) -> None:
    document = ask(app, "GET", "/openapi.json").json()
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    schemas = {"422": "#/components/schemas/FieldErrors"}
    for operation in operations:
        assert operation["summary"]
        assert ("401" in operation["responses"]) == bool(operation["security"])
        for status, answer in operation["responses"].items():
            assert answer["description"]
            if status >= "400":
                schema = answer["content"]["application/json"]["schema"]
                assert schema["$ref"] == schemas.get(status, "#/components/schemas/ErrorMessage")


def test_a_query_with_a_body_that_is_not_unpacked_is_refused_as_documented(make_stored: MakeStored) -> None:
    stored = make_stored()
    project = stored.projects.create()
    documented = ask(stored.app, "GET", "/openapi.json").json()["paths"]["/events/{collection}/query"]["post"]
    for encoding, status in (("br", 415), ("gzip", 400)):
        headers = {"X-Project-Id": project.id, "X-Api-Key": project.keys.query, "Content-Encoding": encoding}
        assert ask(stored.app, "POST", "/events/c/query", [b"{}"], headers).status == status
        assert str(status) in documented["responses"]


def test_a_schema_stands_in_the_document_once_and_may_hold_itself() -> None:
    async def endpoint(_: Any) -> Any: ...

    leaf = Component("Leaf", {"type": "string"})
    inside: dict[str, Any] = {"leaf": leaf}
    tree = Component("Tree", {"properties": inside})
    inside["branches"] = {"items": tree}
    description = Description(
        id="a", tag="t", summary="s", allows=None, answers={200: Answer("fine", json_content([tree, tree]))}
    )
    document = openapi([Operation("GET", "/a", endpoint, description), Route("/b", endpoint)])
    to_tree = {"$ref": "#/components/schemas/Tree"}
    assert list(document["paths"]) == ["/a"]
    content = document["paths"]["/a"]["get"]["responses"]["200"]["content"]
    assert content == {"application/json": {"schema": [to_tree, to_tree]}}
    assert document["components"]["schemas"] == {
        "Leaf": {"type": "string"},
        "Tree": {"properties": {"leaf": {"$ref": "#/components/schemas/Leaf"}, "branches": {"items": to_tree}}},
    }
