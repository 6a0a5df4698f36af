"""Jobs in a directory that one server has, a file each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ..data_directory import read_private, write_atomically
from ..stores.base import StoreError
from .jobs import Job

_WRITE_AFTER: Final = 0.2
"""Seconds between writes of what changes often; a write takes some milliseconds."""

_log = logging.getLogger(__name__)
_decode: Callable[[bytes], Job] = msgspec.json.Decoder(Job).decode


class JobFiles:
    """See :class:`.jobs.Records`. ``directory`` is made when it is needed.

    Whoever uses it has it alone, and holds all jobs that are in it: so there is nothing to be looked up.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._noted: dict[str, float] = {}
        """When it was written last, of those that change."""

    def left(self) -> Sequence[Job]:
        """See :meth:`.jobs.Records.left`."""
        for half in self._directory.glob(".*.json.*"):
            half.unlink(missing_ok=True)
        read = [job for path in self._directory.glob("*.json") if (job := _read(path))]
        return sorted(read, key=lambda job: job.created)

    def write(self, job: Job) -> None:
        """See :meth:`.jobs.Records.write`."""
        with _store_errors("a job could not be written down"):
            self._directory.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._path(job), msgspec.json.encode(job))
        self._noted[job.id] = time.monotonic()
        if job.finished:
            del self._noted[job.id]

    def note(self, job: Job) -> None:
        """See :meth:`.jobs.Records.note`."""
        if time.monotonic() - self._noted.get(job.id, 0) > _WRITE_AFTER:
            self.write(job)

    def remove(self, job: Job) -> None:
        """See :meth:`.jobs.Records.remove`."""
        self._noted.pop(job.id, None)
        with _store_errors("a job could not be removed"):
            self._path(job).unlink(missing_ok=True)

    def find(self, project: str, identity: str) -> Job | None:
        """See :meth:`.jobs.Records.find`."""

    def all_of(self, project: str) -> Sequence[Job]:
        """See :meth:`.jobs.Records.all_of`."""
        return ()

    def close(self) -> None:
        """See :meth:`.jobs.Records.close`. Who holds the jobs ends them, and that writes them."""

    def _path(self, job: Job) -> Path:
        return self._directory / f"{job.id}.json"


@contextmanager
def _store_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror}") from None


def _read(path: Path) -> Job | None:
    """The job in a file; None for what is none of ours."""
    try:
        return _decode(read_private(path))
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("%s is no job: %s", path, error)
        return None
