"""From headers to grants: which key may what, and what becomes of wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from clock import Clock
from starlette.requests import HTTPConnection

from connect_logging import security
from connect_logging._grammar.model import Condition
from connect_logging.security import encrypt_filtered_key, seal_filtered_key
from connect_logging.server.answers import RefusedError
from connect_logging.server.auth import Authenticator, Grant, Right
from connect_logging.server.failed_keys import FailedKeys
from connect_logging.server.projects import Project, ProjectFile

PUSH, QUERY = frozenset({"push"}), frozenset({"query"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def auth(projects: ProjectFile, clock: Clock) -> Authenticator:
    return Authenticator(projects, FailedKeys(60, clock))


@pytest.fixture
def projects(tmp_path: Path) -> ProjectFile:
    return ProjectFile(tmp_path / "projects.json")


@pytest.fixture
def project(projects: ProjectFile) -> Project:
    return projects.create()


def ask(
    auth: Authenticator, headers: Mapping[str, str], right: Right = "push", host: str | None = "192.0.2.1"
) -> Grant | RefusedError:
    """What someone at ``host`` gets who asks to do something."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "headers": raw, "client": host and (host, 9)}
    try:
        return auth.require(HTTPConnection(scope), right)
    except RefusedError as refused:
        return refused


def status(*asked: Any, **more: Any) -> int:
    """200, 401 or 429."""
    answer = ask(*asked, **more)
    return answer.status if isinstance(answer, RefusedError) else 200


def grant(auth: Authenticator, headers: Mapping[str, str]) -> Grant | None:
    """What the key allows, which is seen from what it is granted for each right."""
    answers = {right: ask(auth, headers, right) for right in ("push", "query", "browse", "manage")}
    grants = {right: answer for right, answer in answers.items() if isinstance(answer, Grant)}
    if not grants:
        return None
    [one] = set(grants.values())
    assert one.rights == grants.keys()
    return one


def headers(project: Project, key: str) -> dict[str, str]:
    return {"x-project-id": project.id, "x-api-key": key}


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("push", {"push"}),
        ("query", {"query", "browse"}),
        ("push_query", {"push", "query", "browse"}),
        ("master", {"push", "query", "browse", "manage"}),
    ],
)
def test_each_key_may_what_its_name_says_and_only_in_its_project(
    auth: Authenticator, projects: ProjectFile, project: Project, role: str, may: set[Right]
) -> None:
    key = getattr(project.keys, role)
    assert grant(auth, headers(project, key)) == Grant(project.id, frozenset(may))
    assert grant(auth, {"x-api-key": f"{project.id}-{key}"}) == Grant(project.id, frozenset(may))
    assert grant(auth, headers(projects.create(), key)) is None
    projects.reset_keys(project.id)
    assert grant(auth, headers(project, key)) is None


def test_what_is_no_key_is_no_grant(auth: Authenticator, project: Project) -> None:
    for wrong in (
        {},
        {"x-project-id": project.id},
        {"x-api-key": project.keys.push},
        {"x-api-key": project.id},
        headers(project, ""),
        headers(project, project.keys.push[:-1]),
        headers(project, f"{project.id}-{project.keys.push}"),
        {"x-project-id": "", "x-api-key": f"{project.id}-{project.keys.push}"},
        {"x-project-id": "é", "x-api-key": "\xff"},
    ):
        assert grant(auth, wrong) is None


Make = Callable[[dict[str, Any], Project], str]


def legacy(definition: dict[str, Any], project: Project) -> str:
    return encrypt_filtered_key(definition, project.keys.master)


def sealed(definition: dict[str, Any], project: Project) -> str:
    return seal_filtered_key(definition, project.keys.master, project.id)


@pytest.fixture(params=[legacy, sealed])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param  # type: ignore[no-any-return]


def test_a_filtered_key_carries_its_rights_and_filters(auth: Authenticator, project: Project, make: Make) -> None:
    key = make({"filters": {"customer.id": 7}, "canQuery": True, "canPush": False}, project)
    narrow = Grant(project.id, QUERY, (Condition(("customer", "id"), "eq", 7),))
    assert grant(auth, headers(project, key)) == narrow
    assert grant(auth, {"x-api-key": f"{project.id}-{key}"}) == narrow


def test_a_legacy_key_is_read_in_either_case(auth: Authenticator, project: Project) -> None:
    """One SDK writes it in lower case."""
    key = legacy({"canPush": True}, project)
    assert grant(auth, headers(project, key.lower())) == grant(auth, headers(project, key)) is not None


def test_a_filtered_key_may_push(auth: Authenticator, project: Project, make: Make) -> None:
    key = make({"canPush": True, "canQuery": False}, project)
    assert grant(auth, headers(project, key)) == Grant(project.id, PUSH)


def test_a_filtered_key_ends_with_its_master_key(
    auth: Authenticator, projects: ProjectFile, project: Project, make: Make
) -> None:
    key = make({"canPush": True, "canQuery": False}, project)
    assert grant(auth, headers(projects.create(), key)) is None
    projects.reset_keys(project.id)
    assert grant(auth, headers(project, key)) is None


def test_a_filtered_key_with_filters_that_no_query_may_have_is_none(
    auth: Authenticator, project: Project, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "_check_filters", lambda _: None)  # as of a program that does not look at them
    key = make({"filters": {"price": {"like": 1}}, "canQuery": True, "canPush": True}, project)
    assert grant(auth, headers(project, key)) is None


def test_a_project_can_refuse_the_legacy_form(auth: Authenticator, projects: ProjectFile, project: Project) -> None:
    keys = {make: make({"canPush": True}, project) for make in (legacy, sealed)}
    for taken in (True, False, True):
        projects.configure(project.id, legacy_filtered_keys=taken)
        assert (grant(auth, headers(project, keys[legacy])) is not None) == taken
        assert grant(auth, headers(project, keys[sealed])) is not None


# --- wrong keys


def test_who_fails_too_often_is_told_when_to_come_back(auth: Authenticator, project: Project, clock: Clock) -> None:
    wrong = headers(project, "x" * 32)
    assert [status(auth, wrong) for _ in range(62)] == [401] * 60 + [429] * 2
    refused = ask(auth, wrong)
    assert isinstance(refused, RefusedError)
    assert refused.headers == {"Retry-After": "1"}
    clock.now += 1
    assert [status(auth, wrong) for _ in range(2)] == [401, 429]
    clock.now += 60
    assert [status(auth, wrong) for _ in range(61)] == [401] * 60 + [429]


@pytest.mark.parametrize("wrong_headers", [{}, {"x-api-key": "nope-x"}, {"x-project-id": "nope", "x-api-key": "x"}])
def test_failures_for_no_project_are_counted_by_address(auth: Authenticator, wrong_headers: dict[str, str]) -> None:
    assert [status(auth, wrong_headers) for _ in range(61)] == [401] * 60 + [429]
    assert status(auth, wrong_headers, host="192.0.2.2") == 401


def test_a_good_key_passes_however_often_its_neighbour_fails(
    auth: Authenticator, project: Project, clock: Clock
) -> None:
    known, new = (legacy({"canPush": True}, project) for _ in range(2))
    assert status(auth, headers(project, known)) == 200
    wrong = headers(project, "0" * 32 + "-" + "0" * 32)
    assert [status(auth, wrong) for _ in range(600)] == [401] * 60 + [429] * 540
    for key in (*(getattr(project.keys, role) for role in ("push", "push_query", "master")), known):
        assert status(auth, headers(project, key)) == 200
    assert status(auth, headers(project, sealed({"canPush": True}, project))) == 200
    assert status(auth, headers(project, project.keys.query)) == 401, "known, but not for this"
    assert status(auth, headers(project, new)) == 429, "not even tried"
    assert status(auth, headers(project, new), host="192.0.2.2") == 200
    clock.now += 1
    assert status(auth, headers(project, wrong["x-api-key"])) == 401


def test_a_legacy_key_is_tried_again_when_the_failures_end(auth: Authenticator, project: Project, clock: Clock) -> None:
    new = headers(project, legacy({"canPush": True}, project))
    for _ in range(60):
        status(auth, headers(project, "x" * 32))
    assert status(auth, new) == 429
    clock.now += 1
    assert status(auth, new) == 200


def test_guesses_from_everywhere_are_bounded_for_each_project(
    auth: Authenticator, projects: ProjectFile, project: Project
) -> None:
    wrong = headers(project, "x" * 32)
    hosts = (f"192.0.2.{number}" for number in range(1, 250))
    assert [status(auth, wrong, host=host) for host in hosts for _ in range(50)].count(401) == 600
    assert status(auth, headers(projects.create(), "x" * 32), host="192.0.2.250") == 401
    assert status(auth, headers(project, project.keys.push)) == 200


def test_a_key_that_was_good_is_not_remembered_beyond_a_reset_or_a_refusal(
    auth: Authenticator, projects: ProjectFile, project: Project, make: Make
) -> None:
    key = headers(project, make({"canPush": True}, project))
    assert status(auth, key) == 200
    projects.configure(project.id, legacy_filtered_keys=False)
    assert status(auth, key) == (401 if make is legacy else 200)
    projects.configure(project.id, legacy_filtered_keys=True)
    assert status(auth, key) == 200
    projects.reset_keys(project.id)
    assert status(auth, key) == 401


def test_the_memory_of_good_keys_is_bounded(auth: Authenticator, project: Project) -> None:
    keys = [headers(project, sealed({"canPush": True}, project)) for _ in range(1_030)]
    assert {status(auth, key) for key in keys} == {200}
    assert len(auth._good) == 1_024


def test_a_good_key_that_is_new_takes_the_place_of_the_one_longest_unused(
    auth: Authenticator, project: Project
) -> None:
    for _ in range(1_024):
        assert status(auth, headers(project, sealed({"canPush": True}, project))) == 200
    first, second = (headers(project, legacy({"canPush": True}, project)) for _ in range(2))
    assert [status(auth, key) for key in (first, second)] == [200, 200]
    for _ in range(60):
        status(auth, headers(project, "x" * 32))
    assert [status(auth, key) for key in (first, second)] == [200, 200], "not tried anew"


def test_the_request_knows_whose_it_is_once_its_key_was_good(auth: Authenticator, project: Project) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers(project, project.keys.push).items()]
    request = HTTPConnection({"type": "http", "headers": raw})
    auth.require(request, "push")
    assert request.scope["state"] == {"project": project.id}, "for the access log"


def test_each_wrong_key_is_told_of(projects: ProjectFile, project: Project, clock: Clock) -> None:
    told: list[None] = []
    auth = Authenticator(projects, FailedKeys(1, clock), lambda: told.append(None))
    wrong, good = headers(project, "x" * 32), headers(project, project.keys.query)
    assert [status(auth, wrong), status(auth, wrong), status(auth, good, "query"), status(auth, good)] == [
        401, 429, 200, 401
    ]  # fmt: skip
    assert len(told) == 2
