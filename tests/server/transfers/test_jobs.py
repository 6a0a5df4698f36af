"""Jobs in their files: what is told, to whom, and what a restart leaves of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connect_logging.server.transfers.job_files import JobFiles
from connect_logging.server.transfers.jobs import EventError, ExportJob, ImportJob, Job, Jobs, document


class Clock:
    """A second later each time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def open_jobs(directory: Path) -> Jobs:
    return Jobs(JobFiles(directory), Clock())


def told(job: Job) -> dict[str, Any]:
    """As it goes over the wire."""
    read: dict[str, Any] = json.loads(msgspec.json.encode(document(job)))
    return read


def test_a_job_is_told_of_as_documented(directory: Path) -> None:
    jobs = open_jobs(directory)
    new = jobs.new_import("p", "c")
    assert told(new) == {
        "id": new.id,
        "collection": "c",
        "status": "Pending",
        "created": "2026-03-01T00:00:01.000Z",
        "started": None,
        "finished": None,
        "error": None,
        "lines": 0,
        "importedEvents": 0,
        "duplicateEvents": 0,
        "failedEvents": 0,
        "percentComplete": 0,
        "insertRate": "0/s",
        "eventErrors": [],
    }
    assert len(new.id) == 24
    assert int(new.id, 16) >= 0
    assert (jobs.number_of("Pending"), jobs.number_of("Running")) == (1, 0)
    jobs.start(new.id)
    assert (jobs.number_of("Pending"), jobs.number_of("Running")) == (0, 1)
    jobs.tell(new.id, imported_events=3, event_errors=(EventError(2, "bad"),))
    jobs.complete(new.id)
    assert jobs.now(new) == jobs.find(ImportJob, "p", new.id)
    ended = told(jobs.now(new))
    assert (ended["status"], ended["started"], ended["finished"]) == (
        "Complete",
        "2026-03-01T00:00:02.000Z",
        "2026-03-01T00:00:03.000Z",
    )
    assert (ended["importedEvents"], ended["eventErrors"]) == (3, [{"index": 2, "error": "bad"}])


def test_an_export_names_its_file(directory: Path) -> None:
    new = told(open_jobs(directory).new_export("p", "c"))
    assert new["filename"] == f"{new['id']}.json"
    assert {name: new[name] for name in ("percentDone", "transferredBytes", "totalBytes")} == {
        "percentDone": 0,
        "transferredBytes": 0,
        "totalBytes": 0,
    }


def test_a_job_is_found_by_its_kind_and_project_alone(directory: Path) -> None:
    jobs = open_jobs(directory)
    imported, exported = jobs.new_import("p", "c"), jobs.new_export("p", "c")
    assert jobs.find(ImportJob, "p", imported.id) == imported
    assert jobs.find(ExportJob, "p", exported.id) == exported
    for kind, project, identity in (
        (ImportJob, "q", imported.id),
        (ExportJob, "p", imported.id),
        (ImportJob, "p", exported.id),
        (ImportJob, "p", "0" * 24),
        (ImportJob, "p", "../p"),
    ):
        assert jobs.find(kind, project, identity) is None


def test_all_are_listed_the_newest_first_also_after_a_restart(directory: Path) -> None:
    jobs = open_jobs(directory)
    made = [jobs.new_import("p", name).id for name in "abc"]
    jobs.new_import("q", "d")
    jobs.new_export("p", "e")
    for opened in (jobs, open_jobs(directory)):
        assert [job.id for job in opened.all_of(ImportJob, "p")] == made[::-1]


def test_what_was_not_finished_has_failed_after_a_restart(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connect_logging.server.transfers.job_files._WRITE_AFTER", 0)
    jobs = open_jobs(directory)
    waiting, running, done = (jobs.new_import("p", "c") for _ in range(3))
    jobs.start(running.id)
    jobs.tell(running.id, lines=12_000)
    jobs.start(done.id)
    jobs.complete(done.id)
    (directory / f".{running.id}.json.123").write_text("half")
    again = open_jobs(directory)
    assert {job.id: (job.status, job.error) for job in again.all_of(ImportJob, "p")} == {
        waiting.id: ("Failed", "the server ended before this was done"),
        running.id: ("Failed", "the server ended before this was done, after line 12,000"),
        done.id: ("Complete", None),
    }
    assert not [*directory.glob(".*")]
    assert {job.status for job in open_jobs(directory).all_of(ImportJob, "p")} == {"Failed", "Complete"}


def test_a_job_that_has_ended_stays_as_it_is(directory: Path) -> None:
    jobs = open_jobs(directory)
    new = jobs.new_import("p", "c")
    jobs.complete(new.id)
    jobs.fail(new.id, "too late")
    assert [(job.status, job.error) for job in jobs.all_of(ImportJob, "p")] == [("Complete", None)]
    assert jobs.unfinished() == []


def test_old_jobs_of_a_project_are_forgotten_once_they_have_ended(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_logging.server.transfers.jobs.MAX_KEPT", 5)
    jobs = open_jobs(directory)
    waiting = jobs.new_import("p", "waits")
    other = jobs.new_import("q", "c")
    made = []
    for _ in range(8):
        made.append(jobs.new_import("p", "c").id)
        jobs.complete(made[-1])
    last = jobs.new_import("p", "c")
    kept = {job.id for job in jobs.all_of(ImportJob, "p")}
    assert kept == {waiting.id, last.id, *made[-5:]}
    assert {path.stem for path in directory.iterdir()} == kept | {other.id}


def test_a_job_that_is_made_after_the_clock_was_set_back_is_the_newest_all_the_same(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_logging.server.transfers.jobs.MAX_KEPT", 3)
    clock = Clock()
    jobs = Jobs(JobFiles(directory), clock)
    made = []
    for back in (0, 0, 3_600, 10, 86_400 * 20_000):
        clock.now -= timedelta(seconds=back)
        made.append(jobs.new_import("p", "c").id)
        jobs.complete(made[-1])
    assert [job.id for job in jobs.all_of(ImportJob, "p")] == made[:1:-1]


def test_one_that_was_never_begun_can_be_forgotten(directory: Path) -> None:
    jobs = open_jobs(directory)
    jobs.forget(jobs.new_import("p", "c").id)
    assert jobs.all_of(ImportJob, "p") == []
    assert [*directory.iterdir()] == []
