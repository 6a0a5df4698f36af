"""Who may do what: every kind of key of every kind of project, on every route that the app has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from starlette.types import ASGIApp

from connect_logging.security import encrypt_filtered_key, seal_filtered_key
from connect_logging.server.projects import Project

from .asgi import Answer, ask
from .conftest import MakeStored, Stored


class Row(NamedTuple):
    """A route. ``right``: what a key needs for it; None: not even a key is needed.

    ``target``, ``body``: of a request that is all right. ``status``: of its answer to a key that may.
    """

    right: str | None
    target: str
    body: bytes = b""
    status: int = 200


ROWS: Mapping[tuple[str, str], Row] = {
    ("POST", "/events"): Row("push", "/events", b'{"mine": [{}]}'),
    ("POST", "/events/"): Row("push", "/events/", b'{"mine": [{}]}'),
    ("POST", "/events/{collection}"): Row("push", "/events/mine", b"{}"),
    ("GET", "/events/{collection}"): Row("query", "/events/mine?query={}"),
    ("POST", "/events/{collection}/query"): Row("query", "/events/mine/query", b"{}"),
    ("GET", "/events/{collection}/export"): Row("query", "/events/mine/export?query={}"),
    ("POST", "/events/{collection}/export"): Row("query", "/events/mine/export", b"{}", 422),
    ("GET", "/events/{collection}/export/{id}"): Row("query", f"/events/mine/export/{'0' * 24}", status=404),
    ("POST", "/event-import"): Row("push", "/event-import?collection=mine", b"{}", 201),
    ("GET", "/event-import"): Row("browse", "/event-import"),
    ("GET", "/event-import/{id}"): Row("push", f"/event-import/{'0' * 24}", status=404),
    ("GET", "/collections"): Row("browse", "/collections"),
    ("GET", "/collections/{collection}"): Row("browse", "/collections/mine"),
    ("DELETE", "/collections/{collection}"): Row("manage", "/collections/mine"),
    ("GET", "/health"): Row(None, "/health"),
    ("GET", "/ready"): Row(None, "/ready"),
    ("GET", "/metrics"): Row(None, "/metrics"),
    ("GET", "/openapi.json"): Row(None, "/openapi.json"),
}
NO_ROW = """\
{} has no row in ROWS. Add one: the right that the route asks of Authenticator.require (None: none), a request that is
answered well, and the status of that answer. Whose keys have which rights is in KEYS below, and needs no change."""

Make = Callable[[Project], str]


def role(name: str) -> Make:
    return lambda project: getattr(project.keys, name)  # type: ignore[no-any-return]


def sealed(**rights: Any) -> Make:
    return lambda project: seal_filtered_key({"filters": {}, **rights}, project.keys.master, project.id)


def legacy(**rights: Any) -> Make:
    return lambda project: encrypt_filtered_key({"filters": {}, **rights}, project.keys.master)


KEYS: Mapping[str, tuple[Make, set[str]]] = {
    "push": (role("push"), {"push"}),
    "query": (role("query"), {"query", "browse"}),
    "pushQuery": (role("push_query"), {"push", "query", "browse"}),
    "master": (role("master"), {"push", "query", "browse", "manage"}),
    "sealed push": (sealed(canPush=True), {"push"}),
    "sealed query": (sealed(canQuery=True), {"query"}),
    "sealed both": (sealed(canPush=True, canQuery=True), {"push", "query"}),
    "sealed neither": (sealed(), set()),
    "legacy push": (legacy(canPush=True), {"push"}),
    "legacy query": (legacy(canQuery=True), {"query"}),
    "legacy both": (legacy(canPush=True, canQuery=True), {"push", "query"}),
    "legacy neither": (legacy(), set()),
    "wrong": (lambda _: "x" * 32, set()),
    "wrong sealed": (lambda project: sealed(canQuery=True)(project)[:-1], set()),
    "wrong legacy": (lambda project: legacy(canQuery=True)(project)[:-32], set()),
    "sealed for another project": (
        lambda project: seal_filtered_key({"canPush": True}, project.keys.master, "0" * 24),
        set(),
    ),
    "the project's id": (lambda project: project.id, set()),
    "empty": (lambda _: "", set()),
}
"""How each kind of key is made, and the rights it has in its own project."""


@pytest.fixture(scope="module")
def stored(make_stored: MakeStored) -> Stored:
    return make_stored(failed_keys_per_minute=1_000_000)


def routes(app: Any) -> dict[tuple[str, str], Row]:
    """The row of each route of the app. HEAD is answered as GET is."""
    while not hasattr(app, "routes"):
        app = app._app
    found = {}
    for method, path in ((method, route.path) for route in app.routes for method in sorted(route.methods)):
        row = ROWS.get(("GET" if method == "HEAD" else method, path))
        assert row, NO_ROW.format(f"{method} {path}")
        found[method, path] = row
    return found


def send(app: ASGIApp, method: str, row: Row, headers: Mapping[str, str]) -> Answer:
    return ask(app, method, row.target, [row.body], headers)


def check(app: ASGIApp, headers: Mapping[str, str], rights: set[str]) -> None:
    """Every route answers who has these credentials as ROWS says; what deletes is asked last."""
    wrong = []
    refusals = set()
    for (method, path), row in sorted(routes(app).items(), key=lambda each: each[1].right == "manage"):
        answer = send(app, method, row, headers)
        may = row.right is None or row.right in rights
        if answer.status != (row.status if may else 401):
            wrong.append(f"{method} {path}: {answer.status} {answer.body[:100]!r}")
        if not may:
            refusals.add((tuple(answer.headers.items()), answer.body))
    assert wrong == []
    assert len(refusals) <= 1, "one answer for every wrong key"


def both(project: Project, key: str) -> list[dict[str, str]]:
    """The two ways to say who one is."""
    return [{"X-Project-Id": project.id, "X-Api-Key": key}, {"X-Api-Key": f"{project.id}-{key}"}]


def push(app: ASGIApp, project: Project, *events: Any) -> None:
    body = json.dumps({"mine": events}).encode()
    assert ask(app, "POST", "/events", [body], both(project, project.keys.master)[0]).status == 200


def test_no_row_is_of_a_route_that_there_is_not(stored: Stored) -> None:
    assert {each for each in routes(stored.app) if each[0] != "HEAD"} == set(ROWS)


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_may_what_its_kind_says_in_its_project_and_nothing_in_others(stored: Stored, kind: str) -> None:
    app, projects = stored
    project, other = projects.create(), projects.create()
    make, rights = KEYS[kind]
    for headers in both(project, make(project)):
        push(app, project, {"id": 1})
        check(app, headers, rights)
    check(app, both(other, make(project))[0], set())


@pytest.mark.parametrize("headers", [{}, {"X-Api-Key": "-"}, {"X-Project-Id": "nope", "X-Api-Key": "x" * 32}])
def test_without_a_project_nothing_may_be_done(stored: Stored, headers: dict[str, str]) -> None:
    check(stored.app, headers, set())


@pytest.mark.parametrize("kind", [kind for kind in KEYS if kind.startswith(("sealed", "legacy"))])
def test_a_project_that_refuses_legacy_keys_refuses_them_everywhere(stored: Stored, kind: str) -> None:
    app, projects = stored
    project = projects.create()
    projects.configure(project.id, legacy_filtered_keys=False)
    make, rights = KEYS[kind]
    allowed = set() if kind.startswith("legacy") else rights
    push(app, project, {"id": 1})
    check(app, both(project, make(project))[0], allowed)


@pytest.mark.parametrize("kind", KEYS)
def test_no_key_outlives_a_reset(stored: Stored, kind: str) -> None:
    app, projects = stored
    project = projects.create()
    headers = both(project, KEYS[kind][0](project))[0]
    projects.reset_keys(project.id)
    check(app, headers, set())


def test_projects_do_not_see_each_other(stored: Stored) -> None:
    app, projects = stored
    made = [projects.create() for _ in range(3)]
    for number, project in enumerate(made, 1):
        push(app, project, *({"id": n, "owner": number} for n in range(number)))
    for number, project in enumerate(made, 1):
        headers = both(project, project.keys.query)[0]
        rows = ask(app, "GET", '/events/mine?query={"groupBy":"owner"}', headers=headers).json()["results"]
        assert rows == [{"owner": number, "_count": number}]
        [listed] = ask(app, "GET", "/collections", headers=headers).json()["collections"]
        assert (listed["name"], listed["events"]) == ("mine", number)
    assert ask(app, "DELETE", "/collections/mine", headers=both(made[0], made[0].keys.master)[0]).status == 200
    counts = [
        ask(app, "GET", "/events/mine?query={}", headers=both(project, project.keys.query)[0]).json()["results"]
        for project in made
    ]
    assert counts == [[{"_count": 0}], [{"_count": 2}], [{"_count": 3}]]
