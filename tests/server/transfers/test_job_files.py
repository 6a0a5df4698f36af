"""Jobs in files: private, written seldom, and read again by who comes after."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from connect_logging.server.stores.base import StoreError
from connect_logging.server.transfers.job_files import JobFiles
from connect_logging.server.transfers.jobs import ImportJob, Jobs


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def open_jobs(directory: Path) -> Jobs:
    return Jobs(JobFiles(directory))


def test_files_are_private_and_nothing_is_made_before_it_is_needed(directory: Path) -> None:
    jobs = open_jobs(directory)
    assert not directory.exists()
    new = jobs.new_import("p", "c")
    assert directory.stat().st_mode & 0o777 == 0o700
    [path] = directory.iterdir()
    assert (path.name, path.stat().st_mode & 0o777) == (f"{new.id}.json", 0o600)


def test_what_changes_often_is_not_written_each_time_but_told_at_once(directory: Path) -> None:
    jobs = open_jobs(directory)
    new = jobs.new_import("p", "c")
    jobs.start(new.id)
    written = (directory / f"{new.id}.json").read_bytes()
    for lines in range(100):
        jobs.tell(new.id, lines=lines)
    assert (directory / f"{new.id}.json").read_bytes() == written
    assert [job.lines for job in jobs.all_of(ImportJob, "p")] == [99]
    jobs.complete(new.id)
    assert json.loads((directory / f"{new.id}.json").read_bytes())["lines"] == 99


def test_what_is_no_job_is_left_alone(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    new = open_jobs(directory).new_import("p", "c")
    (directory / "a.json").write_text("{}")
    (directory / "b.json").symlink_to(directory / f"{new.id}.json")
    assert [job.id for job in open_jobs(directory).all_of(ImportJob, "p")] == [new.id]
    assert sorted(record.levelno for record in caplog.records) == [logging.WARNING] * 2
    assert (directory / "a.json").exists()


def test_a_disk_that_fails_refuses_a_new_job_and_lets_others_go_on(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = open_jobs(directory)
    new = jobs.new_import("p", "c")
    (directory / f"{new.id}.json").unlink()
    directory.rmdir()
    directory.write_text("in the way")
    with pytest.raises(StoreError, match="could not be written down"):
        jobs.new_import("p", "c")
    jobs.complete(new.id)
    assert [job.status for job in jobs.all_of(ImportJob, "p")] == ["Complete"]
    assert "could not be written down" in caplog.text
