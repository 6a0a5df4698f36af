"""Jobs in a table: every server tells of all, and of those that have nobody any more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from spooling import until

from connect_logging.server.stores.base import StoreError
from connect_logging.server.stores.clickhouse_address import ClickHouseAddress
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_tables import Tables, make_tables
from connect_logging.server.transfers import job_table
from connect_logging.server.transfers.job_table import JobTable
from connect_logging.server.transfers.jobs import ExportJob, ImportJob, Jobs


class Servers:
    """Any number of servers on one database."""

    def __init__(self, database: ClickHouse) -> None:
        self.database = database
        self.tables: Tables = make_tables(database)
        self._opened: list[Jobs] = []

    def start(self) -> Jobs:
        """One more."""
        self._opened.append(Jobs(JobTable(self.database, self.tables.jobs)))
        return self._opened[-1]

    def away(self) -> None:
        """The database takes and tells nothing of jobs."""
        self.database.run("", f"RENAME TABLE {self.tables.jobs} TO {self._hidden}")

    def back(self) -> None:
        """As before."""
        self.database.run("", f"RENAME TABLE {self._hidden} TO {self.tables.jobs}")

    def later(self, seconds: float) -> None:
        """Have everything been written so much earlier."""
        columns = "id, project, document, server, version, heartbeat"
        self.database.run(
            "",
            f"INSERT INTO {self.tables.jobs} ({columns}) SELECT id, project, document, server, version,"
            f" heartbeat - {round(seconds * 1e6)} FROM {self.tables.jobs} FINAL",
        )

    def close(self) -> None:
        for jobs in self._opened:
            jobs.close()

    @property
    def _hidden(self) -> str:
        return f"{self.tables.jobs}_away"


@pytest.fixture
def servers(clickhouse_address: ClickHouseAddress, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    monkeypatch.setattr(job_table, "BEAT", 0.05)
    with closing(ClickHouse(clickhouse_address)) as database, closing(Servers(database)) as made:
        yield made


def test_a_job_is_told_of_by_every_server(servers: Servers) -> None:
    here, there = servers.start(), servers.start()
    imported, exported = here.new_import("p", "c"), there.new_export("p", "c")
    for jobs in (here, there, servers.start()):
        assert jobs.find(ImportJob, "p", imported.id) == imported
        assert jobs.find(ExportJob, "p", exported.id) == exported
        assert jobs.find(ImportJob, "q", imported.id) is None
        assert jobs.find(ExportJob, "p", imported.id) is None
        assert jobs.all_of(ImportJob, "p") == [imported]
    assert there.unfinished() == [exported]
    here.start(imported.id)
    here.complete(imported.id)
    assert [(job.id, job.status) for job in there.all_of(ImportJob, "p")] == [(imported.id, "Complete")]


def test_how_far_a_job_is_others_are_told_soon(servers: Servers) -> None:
    here, there = servers.start(), servers.start()
    job = here.new_import("p", "c")
    here.start(job.id)
    here.tell(job.id, lines=7)
    assert [each.lines for each in here.all_of(ImportJob, "p")] == [7]
    until(lambda: [each.lines for each in there.all_of(ImportJob, "p")] == [7])


def test_all_are_listed_the_newest_first_and_old_ones_are_forgotten(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_logging.server.transfers.jobs.MAX_KEPT", 3)
    here, there = servers.start(), servers.start()
    waiting = here.new_import("p", "c")
    made = []
    for jobs in (here, there) * 3:
        made.append(jobs.new_import("p", "c").id)
        jobs.complete(made[-1])
    for jobs in (here, there):
        assert [job.id for job in jobs.all_of(ImportJob, "p")] == [*made[:2:-1], waiting.id]


def test_one_that_was_never_begun_is_told_of_by_nobody(servers: Servers) -> None:
    here, there = servers.start(), servers.start()
    here.forget(here.new_import("p", "c").id)
    assert here.all_of(ImportJob, "p") == there.all_of(ImportJob, "p") == []


def test_the_job_of_a_server_that_is_gone_has_failed(servers: Servers) -> None:
    gone, other = servers.start(), servers.start()
    waiting, running, done = (gone.new_import("p", "c") for _ in range(3))
    gone.start(running.id)
    gone.tell(running.id, lines=12_000)
    gone.complete(done.id)
    gone.close()
    servers.later(job_table.GONE_AFTER / 2)
    assert {job.status for job in other.all_of(ImportJob, "p")} == {"Pending", "Running", "Complete"}
    servers.later(job_table.GONE_AFTER)
    told = {job.id: job for job in other.all_of(ImportJob, "p")}
    assert {identity: (job.status, job.error) for identity, job in told.items()} == {
        waiting.id: ("Failed", "the server that did this is gone"),
        running.id: ("Failed", "the server that did this is gone, after line 12,000"),
        done.id: ("Complete", None),
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told[running.id].finished or "")
    assert other.find(ImportJob, "p", running.id) == servers.start().find(ImportJob, "p", running.id)


def test_one_that_was_only_cut_off_tells_of_its_job_as_it_is(servers: Servers) -> None:
    cut_off, other = servers.start(), servers.start()
    job = cut_off.new_import("p", "c")
    cut_off.start(job.id)
    servers.later(99)
    until(lambda: other.find(ImportJob, "p", job.id).status == "Running")  # type: ignore[union-attr]


def test_the_end_of_a_job_is_written_when_the_database_is_back(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = servers.start(), servers.start()
    job = here.new_import("p", "c")
    servers.away()
    here.start(job.id)
    here.complete(job.id)
    with pytest.raises(StoreError, match="could not be written down"):
        here.new_import("p", "refused")
    with pytest.raises(StoreError, match="could not be looked up"):
        there.all_of(ImportJob, "p")
    assert here.find(ImportJob, "p", job.id).status == "Complete"  # type: ignore[union-attr]
    servers.back()
    until(lambda: there.find(ImportJob, "p", job.id).status == "Complete")  # type: ignore[union-attr]
    assert [each.collection for each in there.all_of(ImportJob, "p")] == ["c"]
    assert f"job {job.id}: a job could not be written down" in caplog.text


def test_what_is_noted_is_written_when_it_is_closed(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_table, "BEAT", 60)
    here = servers.start()
    job = here.new_import("p", "c")
    here.tell(job.id, lines=5)
    here.close()
    assert [each.lines for each in servers.start().all_of(ImportJob, "p")] == [5]


def test_what_cannot_be_written_at_the_end_is_told(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_table, "BEAT", 60)
    here = servers.start()
    here.new_import("p", "c")
    servers.away()
    here.close()
    assert "jobs are not written down: a job could not be written down" in caplog.text
    servers.back()


def test_a_server_without_jobs_writes_nothing(servers: Servers) -> None:
    here = servers.start()
    here.complete(here.new_import("p", "c").id)
    records = JobTable(servers.database, servers.tables.jobs)
    before = servers.database.rows("", f"SELECT count() FROM {servers.tables.jobs}")
    records.beat()
    records.close()
    assert servers.database.rows("", f"SELECT count() FROM {servers.tables.jobs}") == before
