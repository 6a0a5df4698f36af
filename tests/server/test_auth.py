"""From headers to grants: project by key by verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connect_logging.security import encrypt_filtered_key, seal_filtered_key
from connect_logging.server.auth import Authenticator, Grant, Right
from connect_logging.server.projects import Project, ProjectFile
from connect_logging.server.query.model import Condition


@pytest.fixture
def projects(tmp_path: Path) -> ProjectFile:
    return ProjectFile(tmp_path / "projects.json")


@pytest.fixture
def project(projects: ProjectFile) -> Project:
    return projects.create()


@pytest.fixture
def auth(projects: ProjectFile) -> Authenticator:
    return Authenticator(projects)


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
    assert auth.grant(headers(project, key)) == Grant(project.id, frozenset(may))
    assert auth.grant({"x-api-key": f"{project.id}-{key}"}) == Grant(project.id, frozenset(may))
    assert auth.grant(headers(projects.create(), key)) is None
    projects.reset_keys(project.id)
    assert auth.grant(headers(project, key)) is None


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
        assert auth.grant(wrong) is None


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
    grant = Grant(project.id, frozenset({"query"}), (Condition(("customer", "id"), "eq", 7),))
    assert auth.grant(headers(project, key)) == grant
    assert auth.grant({"x-api-key": f"{project.id}-{key}"}) == grant


def test_a_legacy_key_is_read_in_either_case(auth: Authenticator, project: Project) -> None:
    """One SDK writes it in lower case."""
    key = legacy({"canPush": True}, project)
    assert auth.grant(headers(project, key.lower())) == auth.grant(headers(project, key)) is not None


def test_a_filtered_key_may_push(auth: Authenticator, project: Project, make: Make) -> None:
    key = make({"canPush": True, "canQuery": False}, project)
    assert auth.grant(headers(project, key)) == Grant(project.id, frozenset({"push"}))


def test_a_filtered_key_ends_with_its_master_key(
    auth: Authenticator, projects: ProjectFile, project: Project, make: Make
) -> None:
    key = make({"canPush": True, "canQuery": False}, project)
    assert auth.grant(headers(projects.create(), key)) is None
    projects.reset_keys(project.id)
    assert auth.grant(headers(project, key)) is None


def test_a_filtered_key_with_filters_that_no_query_may_have_is_none(
    auth: Authenticator, project: Project, make: Make
) -> None:
    key = make({"filters": {"price": {"like": 1}}, "canQuery": True, "canPush": True}, project)
    assert auth.grant(headers(project, key)) is None


def test_a_project_can_refuse_the_legacy_form(auth: Authenticator, projects: ProjectFile, project: Project) -> None:
    keys = {make: make({"canPush": True}, project) for make in (legacy, sealed)}
    for taken in (True, False, True):
        projects.configure(project.id, legacy_filtered_keys=taken)
        assert (auth.grant(headers(project, keys[legacy])) is not None) == taken
        assert auth.grant(headers(project, keys[sealed])) is not None
