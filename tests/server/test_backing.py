"""What a server stands on is opened whole, or the reason is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from connect_logging.server.backing import backing_of
from connect_logging.server.data_directory import DataDirectory, DataDirectoryError
from connect_logging.server.settings import Settings
from connect_logging.server.transfers.jobs import ImportJob


def test_what_is_kept_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data", threads=1)
    with backing_of(settings) as first:
        project = first.projects.create()
        job = first.jobs.new_import(project.id, "c")
        first.jobs.complete(job.id)
    with backing_of(settings) as second:
        assert second.projects.list() == [project]
        [found] = second.jobs.all_of(ImportJob, project.id)
        assert (found.id, found.status) == (job.id, "Complete")
        assert second.store.collections(project.id) == []


def test_a_directory_is_for_one_at_a_time(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data", threads=1)
    with backing_of(settings), pytest.raises(DataDirectoryError, match="in use"), backing_of(settings):
        pass


def test_where_no_socket_can_be_made_it_serves_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DataDirectory(tmp_path, create=True).control_socket.mkdir()
    with backing_of(Settings(tmp_path, threads=1)) as backing:
        backing.store.check()
    message = capsys.readouterr().err
    assert message.startswith(f"no backup can be made while this server runs: {tmp_path}/control: ")
    assert message.count("\n") == 1
