"""Jobs: what imports and exports tell of themselves, written down so that the end of a server does not end that.

A server holds its own jobs in memory, where they change, and has :class:`Records` write them down. What it does not
hold it looks up there: jobs of earlier days, and of other servers where several share the records.

Invariants: a job belongs to its project, and to no other it can be found; what is written never holds credentials or
events, its messages aside; a job that was not finished when its server ended is found ``Failed``, with the reason. It
is not begun again: its credentials, or the connection that its events came on, ended with the process. Whoever starts
it once more imports nothing twice that has an id.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from ..stores.base import StoreError

MAX_KEPT: Final = 100
"""Finished jobs of a project that are told of; older ones are forgotten."""

Status: TypeAlias = Literal["Pending", "Running", "Complete", "Failed"]


class EventError(msgspec.Struct, frozen=True):
    """``index``: the number of the line, from 1."""

    index: int
    error: str


class _Job(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind"):
    id: str
    project: str
    collection: str
    status: Status = "Pending"
    created: str
    started: str | None = None
    finished: str | None = None
    error: str | None = None


class ImportJob(_Job, frozen=True, kw_only=True, rename="camel", tag="import"):
    """An import. ``lines``: done, the last of them committed. ``percent_complete``: of the bytes of its source, where
    their number is known."""

    lines: int = 0
    imported_events: int = 0
    duplicate_events: int = 0
    failed_events: int = 0
    percent_complete: int = 0
    insert_rate: str = "0/s"
    event_errors: tuple[EventError, ...] = ()


class ExportJob(_Job, frozen=True, kw_only=True, rename="camel", tag="export"):
    """An export to S3. ``filename``: of the object, below the path that was asked for."""

    filename: str
    percent_done: int = 0
    transferred_bytes: int = 0
    total_bytes: int = 0


Job: TypeAlias = ImportJob | ExportJob
AnyJob = TypeVar("AnyJob", ImportJob, ExportJob)

_log = logging.getLogger(__name__)


class Records(Protocol):
    """Where jobs are written down. Safe to share between threads. What it does not say of a job it was told last.

    All methods may block. Those of writing raise StoreError, as do ``find`` and ``all_of``.
    """

    def left(self) -> Sequence[Job]:
        """What an earlier process has left that nobody else can be working on, the oldest first."""

    def write(self, job: Job) -> None:
        """Have it on disk when this returns."""

    def note(self, job: Job) -> None:
        """What changes often: on disk some time soon, or when it is noted or written the next time."""

    def remove(self, job: Job) -> None:
        """It is not told of any more."""

    def find(self, project: str, identity: str) -> Job | None:
        """A job of this project that any server has written."""

    def all_of(self, project: str) -> Sequence[Job]:
        """Jobs of this project that any server has written, some of them possibly too old to be told of."""

    def close(self) -> None:
        """Write what has been noted. May be called again."""


def document(job: Job) -> dict[str, Any]:
    """What is told of a job to who may ask."""
    told: dict[str, Any] = msgspec.to_builtins(job)
    del told["kind"], told["project"]
    return told


class Jobs:
    """The jobs of a server, and those of others that share ``records``. Safe to share between threads.

    Making it fails what an earlier process has left unfinished. ``now``: the time, in UTC.
    """

    def __init__(self, records: Records, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._records = records
        self._now = now
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {job.id: job for job in records.left()}
        for job in self.unfinished():
            self.fail(job.id, "the server ended before this was done")

    def new_import(self, project: str, collection: str) -> ImportJob:
        """A job that is on disk, ``Pending``. Raises StoreError."""
        return self._add(ImportJob(id=_new_id(), project=project, collection=collection, created=self._time()))

    def new_export(self, project: str, collection: str) -> ExportJob:
        """A job that is on disk, ``Pending``. Raises StoreError."""
        new = _new_id()
        return self._add(
            ExportJob(id=new, project=project, collection=collection, created=self._time(), filename=f"{new}.json")
        )

    def find(self, kind: type[AnyJob], project: str, identity: str) -> AnyJob | None:
        """The job of this kind and project, or None. Blocks unless it is this server's. Raises StoreError."""
        job = self._jobs.get(identity) or self._records.find(project, identity)
        return job if isinstance(job, kind) and job.project == project else None

    def now(self, job: ImportJob) -> ImportJob:
        """What an import of this server tells now. Never blocks."""
        known = self._jobs.get(job.id)
        return known if isinstance(known, ImportJob) else job

    def all_of(self, kind: type[AnyJob], project: str) -> list[AnyJob]:
        """The jobs of this kind and project, the newest first. Blocks. Raises StoreError.

        Ours are in the order in which they were made: the clock may have been set back between two of them, and the
        newest would be the first to be forgotten.
        """
        found = {job.id: (job.created, job) for job in self._records.all_of(project)}
        with self._lock:
            newest = ""
            for job in self._jobs.values():
                if job.project == project:
                    newest = max(newest, job.created)
                    found.pop(job.id, None)  # to be behind those of its time
                    found[job.id] = newest, job
        ordered = sorted(found.values(), key=lambda each: each[0])
        jobs = [job for _, job in ordered if isinstance(job, kind)]
        forgotten = {job.id for job in [job for job in jobs if job.finished][:-MAX_KEPT]}
        return [job for job in reversed(jobs) if job.id not in forgotten]

    def unfinished(self) -> list[Job]:
        """Jobs of all projects that wait or run on this server."""
        with self._lock:
            return [job for job in self._jobs.values() if job.finished is None]

    def number_of(self, status: Status) -> int:
        """How many jobs of all projects are in ``status`` on this server."""
        with self._lock:
            return sum(job.status == status for job in self._jobs.values())

    def start(self, identity: str) -> None:
        """It runs now."""
        self._change(identity, self._records.write, status="Running", started=self._time())

    def tell(self, identity: str, **changes: Any) -> None:
        """``changes`` of what it tells of itself, by the names of its fields; not each is on disk at once."""
        self._change(identity, self._records.note, **changes)

    def complete(self, identity: str) -> None:
        """It is done."""
        self._change(identity, self._records.write, status="Complete", finished=self._time())

    def fail(self, identity: str, error: str) -> None:
        """It ended early; ``error`` says why, and must hold no secret. One that has ended already stays as it is."""
        job = self._jobs[identity]
        if job.finished is None:
            failed = f"{error}{reached(job)}"
            self._change(identity, self._records.write, status="Failed", finished=self._time(), error=failed)

    def forget(self, identity: str) -> None:
        """It was never begun."""
        with self._lock:
            self._remove(self._jobs[identity])

    def close(self) -> None:
        """Have all written down. May be called again."""
        self._records.close()

    def _add(self, job: AnyJob) -> AnyJob:
        with self._lock:
            self._records.write(job)
            self._jobs[job.id] = job
            finished = [each for each in self._jobs.values() if each.project == job.project and each.finished]
            for old in finished[:-MAX_KEPT]:
                self._remove(old)
        return job

    def _change(self, identity: str, write: Callable[[Job], None], **changes: Any) -> None:
        with self._lock:
            job = self._jobs[identity] = msgspec.structs.replace(self._jobs[identity], **changes)
            try:
                write(job)
            except StoreError as error:
                _log.warning("job %s: %s", identity, error)

    def _remove(self, job: Job) -> None:
        del self._jobs[job.id]
        try:
            self._records.remove(job)
        except StoreError as error:
            _log.warning("job %s: %s", job.id, error)

    def _time(self) -> str:
        return self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reached(job: Job) -> str:
    """How far an import had come, to be added to why it has failed."""
    return f", after line {job.lines:,}" if isinstance(job, ImportJob) and job.lines else ""


def _new_id() -> str:
    """24 hex digits, as Connect's; nobody guesses one."""
    return secrets.token_hex(12)
