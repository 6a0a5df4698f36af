"""Jobs: what imports and exports tell of themselves, kept in a file each, so that a restart does not end that.

Invariants: a job belongs to its project, and to no other it can be found; its file never holds credentials or
events, its messages aside; a job that was not finished when the server ended is found ``Failed``, with the reason. It
is not begun again: its credentials, or the connection that its events came on, ended with the process. Whoever starts
it once more imports nothing twice that has an id.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from ..data_directory import read_private, write_atomically
from ..stores.base import StoreError

MAX_KEPT: Final = 100
"""Finished jobs of a project; older ones are forgotten."""

_WRITE_AFTER: Final = 0.2
"""Seconds between writes of what changes often; a write takes some milliseconds."""

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
_decode: Callable[[bytes], Job] = msgspec.json.Decoder(Job).decode


def document(job: Job) -> dict[str, Any]:
    """What is told of a job to who may ask."""
    told: dict[str, Any] = msgspec.to_builtins(job)
    del told["kind"], told["project"]
    return told


class Jobs:
    """The jobs of a server, in ``directory``, which is made when it is needed. Safe to share between threads.

    Making it fails what an earlier process has left unfinished. ``now``: the time, in UTC.
    """

    def __init__(self, directory: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._written: dict[str, float] = {}
        for half in directory.glob(".*.json.*"):
            half.unlink(missing_ok=True)
        read = [job for path in directory.glob("*.json") if (job := _read(path))]
        self._jobs: dict[str, Job] = {job.id: job for job in sorted(read, key=lambda job: job.created)}
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
        """The job of this kind and project, or None."""
        job = self._jobs.get(identity)
        return job if isinstance(job, kind) and job.project == project else None

    def all_of(self, kind: type[AnyJob], project: str) -> list[AnyJob]:
        """The jobs of this kind and project, the newest first."""
        with self._lock:
            jobs = [*self._jobs.values()]
        return [job for job in reversed(jobs) if isinstance(job, kind) and job.project == project]

    def unfinished(self) -> list[Job]:
        """Jobs of all projects that wait or run."""
        with self._lock:
            return [job for job in self._jobs.values() if job.finished is None]

    def start(self, identity: str) -> None:
        """It runs now."""
        self._change(identity, status="Running", started=self._time())

    def tell(self, identity: str, **changes: Any) -> None:
        """``changes`` of what it tells of itself, by the names of its fields; not each is on disk at once."""
        is_time = time.monotonic() - self._written.get(identity, 0) > _WRITE_AFTER
        self._change(identity, is_written=is_time, **changes)

    def complete(self, identity: str) -> None:
        """It is done."""
        self._change(identity, status="Complete", finished=self._time())

    def fail(self, identity: str, error: str) -> None:
        """It ended early; ``error`` says why, and must hold no secret. One that has ended already stays as it is."""
        job = self._jobs[identity]
        if job.finished is None:
            self._change(identity, status="Failed", finished=self._time(), error=f"{error}{_reached(job)}")

    def forget(self, identity: str) -> None:
        """It was never begun."""
        with self._lock:
            self._remove(self._jobs[identity])

    def _add(self, job: AnyJob) -> AnyJob:
        with self._lock:
            try:
                self._directory.mkdir(mode=0o700, exist_ok=True)
                self._write(job)
            except OSError as error:
                raise StoreError(f"a job could not be written down: {error.strerror}") from None
            self._jobs[job.id] = job
            finished = [each for each in self._jobs.values() if each.project == job.project and each.finished]
            for old in finished[:-MAX_KEPT]:
                self._remove(old)
        return job

    def _change(self, identity: str, *, is_written: bool = True, **changes: Any) -> None:
        with self._lock:
            job = self._jobs[identity] = msgspec.structs.replace(self._jobs[identity], **changes)
            if is_written:
                try:
                    self._write(job)
                except OSError as error:
                    _log.warning("job %s could not be written down: %s", identity, error.strerror)

    def _remove(self, job: Job) -> None:
        del self._jobs[job.id]
        self._path(job).unlink(missing_ok=True)

    def _write(self, job: Job) -> None:
        write_atomically(self._path(job), msgspec.json.encode(job))
        self._written[job.id] = time.monotonic()
        if job.finished:
            del self._written[job.id]

    def _path(self, job: Job) -> Path:
        return self._directory / f"{job.id}.json"

    def _time(self) -> str:
        return self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _reached(job: Job) -> str:
    """How far an import had come."""
    return f", after line {job.lines:,}" if isinstance(job, ImportJob) and job.lines else ""


def _new_id() -> str:
    """24 hex digits, as Connect's; nobody guesses one."""
    return secrets.token_hex(12)


def _read(path: Path) -> Job | None:
    """The job in a file; None for what is none of ours."""
    try:
        return _decode(read_private(path))
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("%s is no job: %s", path, error)
        return None
