"""What a server stands on is opened whole, or the reason is told; and what several stand on, each sees."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from spooling import until

from connect_logging._grammar.model import Query
from connect_logging.server.backing import Backing, PlaceError, backing_of, projects_at, store_of
from connect_logging.server.data_directory import DataDirectory, DataDirectoryError, InUseError
from connect_logging.server.settings import Place, Settings
from connect_logging.server.stores.base import NewEvent, TooManyError
from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.transfers.jobs import ImportJob

DAY = 86_400 * 1_000_000


@pytest.fixture(params=["a directory", "ClickHouse"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return tmp_path / "data" if request.param == "a directory" else request.getfixturevalue("clickhouse_address")


def count(backing: Backing, project: str) -> int:
    [line] = backing.store.query(project, "c", Query())
    return int(line.row["_count"])


def push(backing: Backing, project: str, *times: int) -> None:
    backing.store.insert(project, {"c": [NewEvent(f"{time}", time, b"{}") for time in times]}).result(30)


def test_what_is_kept_is_there_when_it_is_opened_again(place: Place) -> None:
    settings = Settings(place)
    with backing_of(settings) as first:
        project = first.projects.create_first()
        assert project is not None
        push(first, project.id, 1)
        job = first.jobs.new_import(project.id, "c")
        first.jobs.complete(job.id)
    with backing_of(settings) as second:
        assert second.projects.create_first() is None
        assert second.projects.list() == [project]
        [found] = second.jobs.all_of(ImportJob, project.id)
        assert (found.id, found.status) == (job.id, "Complete")
        assert count(second, project.id) == 1
    with store_of(settings) as store, projects_at(place, create=False) as projects:
        assert [each.events for each in store.collections(projects.list()[0].id)] == [1]


def test_a_directory_that_cannot_be_written_to_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event would be refused; what is there can be copied all the same."""
    settings = Settings(tmp_path / "data")
    with backing_of(settings) as backing:
        push(backing, "p", 1)
    # Tests may run as root, whom modes do not stop.
    monkeypatch.setattr(os, "access", lambda path, mode: path.stat().st_mode >> 6 & mode == mode)
    (tmp_path / "data").chmod(0o500)
    with pytest.raises(DataDirectoryError, match="cannot be written to"), backing_of(settings):
        pass
    with store_of(settings) as store:
        assert [each.events for each in store.collections("p")] == [1]


def test_the_collections_in_a_directory_have_a_number(tmp_path: Path) -> None:
    with backing_of(Settings(tmp_path / "data", max_collections=1)) as backing:
        push(backing, "p", 1)
        with pytest.raises(TooManyError):
            backing.store.insert("p", {"d": [NewEvent("1", 1, b"{}")]})


def test_a_directory_is_for_one_at_a_time(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data")
    with backing_of(settings):
        for other in (backing_of, store_of):
            with pytest.raises(InUseError, match="in use"), other(settings):
                pass
        with projects_at(settings.place, create=False) as projects:
            assert projects.list() == []
    with pytest.raises(DataDirectoryError, match="does not exist"), projects_at(tmp_path / "none", create=False):
        pass


def test_any_number_of_servers_share_a_database(clickhouse_address: ClickHouseAddress) -> None:
    settings = Settings(clickhouse_address)
    with backing_of(settings) as here, backing_of(settings) as there:
        project = here.projects.create()
        until(lambda: there.projects.get(project.id) == project)
        reset = there.projects.reset_keys(project.id)
        until(lambda: here.projects.get(project.id) == reset)
        push(here, project.id, 1, 2)
        push(there, project.id, 2, 3)
        assert count(here, project.id) == count(there, project.id) == 3
        job = here.jobs.new_import(project.id, "c")
        assert there.jobs.find(ImportJob, project.id, job.id) == job


def test_old_events_go_when_it_is_opened(tmp_path: Path) -> None:
    now = time.time_ns() // 1_000
    with backing_of(Settings(tmp_path / "data")) as kept:
        push(kept, "p", now - 8 * DAY, now - 6 * DAY, now)
    with backing_of(Settings(tmp_path / "data", retention=7)) as backing:
        until(lambda: count(backing, "p") == 2)
        assert [each.first for each in backing.store.collections("p")] == [now - 6 * DAY]


def test_how_long_events_are_kept_is_told_to_clickhouse(clickhouse_address: ClickHouseAddress) -> None:
    from connect_logging.server.stores.clickhouse_connection import ClickHouse

    database = ClickHouse(clickhouse_address)
    for retention, found in ((7, True), (None, False)):
        with backing_of(Settings(clickhouse_address, retention=retention)):
            [(table,)] = database.rows("", f"SHOW CREATE TABLE `{clickhouse_address.database}`.events")
        assert ("toIntervalDay(7)" in table) == found
    database.close()


def test_a_database_that_is_not_there_is_told_with_its_address() -> None:
    address = parse_address("clickhouse://user:s3cret@127.0.0.1:1/d")
    for use in (backing_of(Settings(address)), store_of(Settings(address)), projects_at(address, create=False)):
        with (
            pytest.raises(PlaceError, match=r"clickhouse://user@127\.0\.0\.1:1/d: .*be reached: connection refused"),
            use,
        ):
            pass
    assert "s3cret" not in repr(Settings(address))


def test_where_no_socket_can_be_made_it_serves_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DataDirectory(tmp_path, create=True).control_socket.mkdir()
    with backing_of(Settings(tmp_path, threads=1)) as backing:
        backing.store.check()
    message = capsys.readouterr().err
    assert message.startswith(f"no backup can be made while this server runs: {tmp_path}/control: ")
    assert message.count("\n") == 1
