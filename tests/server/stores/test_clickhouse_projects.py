"""Projects in a table: shared by servers, of which none waits for another, and none takes anything back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from connect_logging.server.projects import DamagedProjectsError, Project, UnknownProjectError
from connect_logging.server.stores.base import StoreError
from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_projects import ClickHouseProjects
from connect_logging.server.stores.clickhouse_tables import make_tables


@pytest.fixture
def database(clickhouse_address: ClickHouseAddress) -> Iterator[ClickHouse]:
    with closing(ClickHouse(clickhouse_address)) as opened:
        make_tables(opened)
        yield opened


def projects_in(database: ClickHouse) -> ClickHouseProjects:
    """As another server sees them."""
    return ClickHouseProjects(database, make_tables(database).projects)


def test_what_one_server_does_others_see_when_they_look_again(database: ClickHouse) -> None:
    here, there = projects_in(database), projects_in(database)
    first, second = here.create(), here.create()
    assert here.get(first.id) == first
    assert there.get(first.id) is None
    there.refresh()
    assert there.get(first.id) == first
    assert projects_in(database).list() == [first, second]

    reset = there.reset_keys(first.id)
    assert (reset.id, reset.created) == (first.id, first.created)
    assert reset.keys != first.keys
    assert there.get(first.id) == reset
    assert here.get(first.id) == first
    configured = here.configure(first.id, legacy_filtered_keys=False)
    assert configured.keys == reset.keys, "a change is made to what there is now"
    assert projects_in(database).list() == here.list() == there.list() == [configured, second]


def test_nothing_is_known_of_projects_that_there_are_not(database: ClickHouse) -> None:
    projects = projects_in(database)
    assert projects.get("x") is None
    assert projects.list() == []
    with pytest.raises(UnknownProjectError, match="nope"):
        projects.reset_keys("nope")
    with pytest.raises(UnknownProjectError, match="nope"):
        projects.configure("nope", legacy_filtered_keys=True)


class Meeting(ClickHouse):
    """Waits, before it stores anything, until so many are about to."""

    def __init__(self, address: ClickHouseAddress, begun: threading.Barrier) -> None:
        super().__init__(address)
        self._begun = begun

    def insert(self, *arguments: Any) -> None:
        self._begun.wait(9)
        super().insert(*arguments)


def test_servers_that_start_at_once_make_one_first_project(database: ClickHouse) -> None:
    begun = threading.Barrier(4)
    servers = [projects_in(Meeting(database.address, begun)) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        made = [project for project in threads.map(ClickHouseProjects.create_first, servers) if project]
    assert made == projects_in(database).list()
    assert len(made) == 1
    assert all(server.get(made[0].id) == made[0] for server in servers)
    assert projects_in(database).create_first() is None


def test_no_first_project_is_made_beside_one_that_was_asked_for(database: ClickHouse) -> None:
    made = projects_in(database).create()
    assert projects_in(database).create_first() is None
    assert projects_in(database).list() == [made]


def test_projects_are_listed_as_they_were_made(database: ClickHouse) -> None:
    projects = projects_in(database)
    made = [projects.create() for _ in range(6)]
    assert projects_in(database).list() == made


class Lagging(ClickHouse):
    """A replica that does not have what others have taken, for so many questions."""

    def __init__(self, address: ClickHouseAddress, questions: int) -> None:
        super().__init__(address)
        self.left = questions

    def rows(self, *arguments: Any) -> list[tuple[Any, ...]]:
        self.left -= 1
        return [] if self.left >= 0 else super().rows(*arguments)


def test_who_has_not_seen_the_first_project_makes_no_second_one(
    database: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = projects_in(database).create_first()
    assert first is not None
    late = projects_in(Lagging(database.address, 4))
    assert late.create_first() is None
    assert late.list() == [first]
    monkeypatch.setattr("connect_logging.server.stores.clickhouse_projects._SEEN_WITHIN", 0.2)
    with pytest.raises(StoreError, match="cannot be read"):
        projects_in(Lagging(database.address, 99)).create_first()


def test_an_older_version_takes_nothing_back(database: ClickHouse) -> None:
    server = projects_in(database)
    project = server.create()
    table = make_tables(database).projects
    [(document, version)] = database.rows("", f"SELECT document, version FROM {table}")
    reset = server.reset_keys(project.id)
    database.run("", f"TRUNCATE TABLE {table}")
    database.run(
        "",
        f"INSERT INTO {table} VALUES ({{id:String}}, {{document:String}}, {version})",
        {
            "id": project.id,
            "document": document,
        },
    )
    server.refresh()
    assert server.get(project.id) == reset


def test_a_project_is_added_as_it_is_and_one_that_is_there_stays(database: ClickHouse) -> None:
    projects = projects_in(database)
    project = Project.new()
    assert projects.add(project) == project
    reset = projects.reset_keys(project.id)
    assert projects_in(database).add(project) == reset
    assert projects.list() == [reset]


def test_what_is_no_project_is_said_to_be_none(database: ClickHouse) -> None:
    projects = projects_in(database)
    project = projects.create()
    database.run("", f"INSERT INTO {make_tables(database).projects} VALUES ('x', '{{{{', 1)")
    with pytest.raises(DamagedProjectsError, match="no project"):
        projects.refresh()
    assert projects.get(project.id) == project, "what was read last counts"


def test_keys_are_in_no_error_and_no_repr(database: ClickHouse) -> None:
    projects = projects_in(database)
    project = projects.create()
    assert project.keys.master not in repr(projects)
    database.run("", f"DROP TABLE {make_tables(database).projects} SYNC")
    for change in (projects.refresh, projects.create, lambda: projects.reset_keys(project.id)):
        with pytest.raises(StoreError) as raised:
            change()
        assert project.keys.push not in str(raised.value)
    assert projects.get(project.id) == project


def test_a_database_that_is_not_there_is_told() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = parse_address(f"clickhouse://127.0.0.1:{nobody.getsockname()[1]}")
        with closing(ClickHouse(address)) as nowhere, pytest.raises(StoreError, match="cannot be reached"):
            ClickHouseProjects(nowhere, "`d`.projects")
