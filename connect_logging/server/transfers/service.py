"""Imports and exports as a server offers them: begun, told of as jobs, and ended with the server.

Invariants: each that was begun ends ``Complete`` or ``Failed``, with the reason; what a job says is in the store is
there; the credentials of a transfer are with its task alone, and go with it.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..._grammar.model import Query
from ...exceptions import ConnectError
from ..ingest import Ingest
from ..observing import TransferKind, TransferOutcome
from ..s3.addresses import Credentials, Endpoints, Place
from ..stores.base import Outcome, StoppedError, Store, StoreError
from ..threads import let_go
from .importing import Import
from .jobs import EventError, ExportJob, ImportJob, Job, Jobs
from .lines import inflated, read_lines
from .workers import TooManyWaitingError, Workers

if TYPE_CHECKING:
    from ..s3.bucket import S3

MAX_EXPORTED: Final = 1_000_000
"""Events of an export to S3; documented."""
MAX_WAITING: Final = 20
"""Transfers of a project that wait for their turn."""

_STOP_WITHIN: Final = 10.0
"""Seconds."""
_STOPPED: Final = "the server was stopped before this was done"

_log = logging.getLogger(__name__)


class NoS3Error(ConnectError):
    """What speaks S3 is not installed."""


class Transfers:
    """The transfers of a server, of which ``concurrent`` with S3 run at a time.

    ``jobs`` stay the caller's to close. ``scratch``: the directory for what is gathered before it is sent, by default
    the system's. ``count`` is told of what became of events, ``on_end`` of how transfers that ran have ended.
    """

    def __init__(
        self,
        store: Store,
        ingest: Ingest,
        jobs: Jobs,
        endpoints: Endpoints,
        *,
        concurrent: int,
        scratch: Path | None = None,
        count: Callable[[Outcome, int], object] = lambda outcome, count: None,
        on_end: Callable[[TransferKind, TransferOutcome], object] = lambda kind, outcome: None,
    ) -> None:
        self.jobs = jobs
        self._store = store
        self._ingest = ingest
        self._scratch = scratch
        self._endpoints = endpoints
        self._s3 = cache(self._make_s3)
        self._count = count
        self._on_end = on_end
        self._workers = Workers(concurrent, MAX_WAITING)
        self._stopped = threading.Event()

    def place(self, path: str, region: str | None, endpoint: str | None, *, is_prefix: bool) -> Place:
        """Where a request leads; see :meth:`.Endpoints.place`. Raises NoS3Error as well."""
        if find_spec("boto3") is None:
            raise NoS3Error("this server does not speak S3: it needs pip install 'connect-logging[s3]'")
        return self._endpoints.place(path, region, endpoint, is_prefix=is_prefix)

    def import_from(self, project: str, collection: str, place: Place, credentials: Credentials) -> ImportJob:
        """Import an object, once it is its turn. Raises TooManyWaitingError, StoreError."""
        job = self.jobs.new_import(project, collection)
        self._submit(job, partial(self._import, job, place, credentials))
        return job

    def export_to(
        self, project: str, collection: str, query: Query, place: Place, credentials: Credentials
    ) -> ExportJob:
        """Export to an object below ``place``, once it is its turn. Raises TooManyWaitingError, StoreError."""
        job = self.jobs.new_export(project, collection)
        self._submit(job, partial(self._export, job, query, place, credentials))
        return job

    def upload(
        self, job: ImportJob, pieces: Iterable[bytes], *, is_packed: bool, size: int | None, stopped: threading.Event
    ) -> None:
        """Import ``pieces`` now, ``size`` bytes if that is known, until ``stopped`` is set. Blocks.

        Raises what ``pieces`` raises, DamagedSourceError, StoreError, StoppedError; the job has failed then.
        """
        with self._told(job):
            self._feed(job, pieces, is_packed, size, stopped)

    def close(self) -> None:
        """Stop what runs, and fail what has not begun. May be called again."""
        self._stopped.set()
        self._workers.close(_STOP_WITHIN)
        for job in self.jobs.unfinished():
            self.jobs.fail(job.id, _STOPPED)

    def _submit(self, job: Job, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                with self._told(job):
                    work()
            except Exception as error:  # noqa: BLE001 - the job has told it, and the log what nobody foresaw
                let_go(error)

        try:
            self._workers.submit(job.project, run)
        except TooManyWaitingError:
            self.jobs.forget(job.id)
            raise

    @contextmanager
    def _told(self, job: Job) -> Iterator[None]:
        """Have ``job`` tell how the block begins and ends."""
        self.jobs.start(job.id)
        try:
            yield
        except StoppedError:
            self._fail(job, _STOPPED)
            raise
        except ConnectError as error:
            self._fail(job, error.told if isinstance(error, StoreError) else str(error))
            raise
        except OSError as error:
            self._fail(job, f"the server's disk fails: {error.strerror}")
            raise
        except Exception:
            _log.exception("job %s", job.id)
            self._fail(job, "the server failed; its log says why")
            raise
        self._on_end(_kind(job), "complete")
        self.jobs.complete(job.id)

    def _fail(self, job: Job, error: str) -> None:
        self._on_end(_kind(job), "failed")
        self.jobs.fail(job.id, error)

    def _import(self, job: ImportJob, place: Place, credentials: Credentials) -> None:
        with self._s3().open(place, credentials) as bucket:
            found = bucket.read()
            make_id = partial(line_id, found.identity)
            is_packed = place.key.endswith(".gz")
            self._feed(job, found.pieces(), is_packed, found.size, self._stopped, make_id)

    def _export(self, job: ExportJob, query: Query, place: Place, credentials: Credentials) -> None:
        # The file has no name, and goes with the process.
        with tempfile.TemporaryFile(dir=self._scratch) as file:
            pieces = self._store.export(
                job.project, job.collection, query, "connect", stopped=self._stopped, max_events=MAX_EXPORTED
            )
            with closing(pieces):
                file.writelines(pieces)
            size, sent = file.tell(), 0
            self.jobs.tell(job.id, total_bytes=size)

            def tell(count: int) -> None:
                nonlocal sent
                if self._stopped.is_set():
                    raise StoppedError(_STOPPED)
                sent += count
                self.jobs.tell(job.id, transferred_bytes=sent, percent_done=min(99, 100 * sent // size))

            file.seek(0)
            with self._s3().open(place, credentials) as bucket:
                bucket.write(job.filename, file, tell)
        self.jobs.tell(job.id, transferred_bytes=size, percent_done=100)

    def _make_s3(self) -> S3:
        """Once it is needed: it comes with an extra, and takes a second."""
        from ..s3.bucket import S3

        return S3(self._endpoints)

    def _feed(
        self,
        job: ImportJob,
        pieces: Iterable[bytes],
        is_packed: bool,
        size: int | None,
        stopped: threading.Event,
        make_id: Callable[[int], str] | None = None,
    ) -> None:
        began, read = time.monotonic(), 0

        def counted() -> Iterator[bytes]:
            nonlocal read
            for piece in pieces:
                read += len(piece)
                yield piece

        def until_stopped(parts: Iterable[bytes]) -> Iterator[bytes]:
            for part in parts:
                if stopped.is_set():
                    raise StoppedError(_STOPPED)
                yield part

        def tell() -> None:
            done, seconds = running.progress, time.monotonic() - began
            self.jobs.tell(
                job.id,
                lines=done.lines,
                imported_events=done.imported,
                duplicate_events=done.duplicates,
                failed_events=done.failed,
                percent_complete=min(99, 100 * read // size) if size else 0,
                insert_rate=f"{(done.imported + done.duplicates) / seconds:.0f}/s",
                event_errors=tuple(EventError(*each) for each in done.errors),
            )

        running = Import(
            self._store,
            self._ingest,
            job.project,
            job.collection,
            count=self._count,
            report=tell,
            stopped=stopped,
            make_id=make_id,
        )
        try:
            running.feed(read_lines(until_stopped(inflated(counted()) if is_packed else counted())))
        finally:
            tell()
        self.jobs.tell(job.id, percent_complete=100)


def _kind(job: Job) -> TransferKind:
    return "import" if isinstance(job, ImportJob) else "export"


def line_id(source: bytes, number: int) -> str:
    """The id of an event that has none: of its source, 16 bytes that tell it from others, and its line there.

    So whoever imports the same object once more, after an interruption, imports nothing twice. It has the form of a
    UUID, and within a source rises with the line, by which the store finds it quickly.
    """
    low, high = number & 0xFFF_FFFF, number >> 28
    rest = (int.from_bytes(source[4:]) + high) % 2**60
    return f"{source[:4].hex()}-{low >> 12:04x}-8{low & 0xFFF:03x}-8{rest >> 48:03x}-{rest & (2**48 - 1):012x}"
