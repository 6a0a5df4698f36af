"""Transfers as a server offers them: to and from S3, to their ends, good and bad."""

from __future__ import annotations

import gc
import gzip
import json
import re
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from s3_server import KEYS, S3, Misbehaving, serving_s3
from spooling import until

from connect_logging._grammar.model import Condition, Query
from connect_logging.server.ingest import Ingest
from connect_logging.server.s3.addresses import Credentials, Endpoints, Place
from connect_logging.server.stores.base import NewEvent, StoppedError, Stored, StoreError
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.transfers import service
from connect_logging.server.transfers.job_files import JobFiles
from connect_logging.server.transfers.jobs import ImportJob, Job, Jobs
from connect_logging.server.transfers.lines import DamagedSourceError
from connect_logging.server.transfers.service import NoS3Error, Transfers, line_id
from connect_logging.server.transfers.workers import TooManyWaitingError

CREDENTIALS = Credentials(*KEYS.values())


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with serving_s3() as serving:
        yield serving


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBStore]:
    path = tmp_path_factory.mktemp("store") / "events.duckdb"
    with closing(DuckDBStore(path, memory_limit="256MB", threads=1, query_timeout=9, max_waiting=2**26)) as opened:
        yield opened


@pytest.fixture
def counts() -> dict[str, int]:
    return {"stored": 0, "duplicate": 0, "rejected": 0}


def jobs_in(directory: Path) -> Jobs:
    return Jobs(JobFiles(directory / "jobs"))


@pytest.fixture
def ends() -> Counter[tuple[str, str]]:
    return Counter()


@pytest.fixture
def transfers(
    store: DuckDBStore, s3: S3, tmp_path: Path, counts: dict[str, int], ends: Counter[tuple[str, str]]
) -> Iterator[Transfers]:
    def count(outcome: str, number: int) -> None:
        counts[outcome] += number

    def end(kind: str, outcome: str) -> None:
        ends[kind, outcome] += 1

    with closing(
        Transfers(
            store,
            Ingest(store, lambda: 1.5),
            jobs_in(tmp_path),
            Endpoints((s3.url,)),
            concurrent=1,
            scratch=tmp_path,
            count=count,
            on_end=end,
        )
    ) as opened:
        yield opened


def place(transfers: Transfers, s3: S3, key: str, *, is_prefix: bool = False) -> Place:
    return transfers.place(f"s3://bucket-1/{key}", None, s3.url, is_prefix=is_prefix)


def ended(transfers: Transfers, job: Job) -> Any:
    """What it tells once it has ended."""
    until(lambda: transfers.jobs.find(type(job), job.project, job.id).finished)
    return transfers.jobs.find(type(job), job.project, job.id)


def insert(store: DuckDBStore, collection: str, count: int) -> None:
    made = [NewEvent(str(number), number * 1_000, b'{"n":%d}' % number) for number in range(count)]
    store.insert("p", {collection: made}).result(30)


@pytest.mark.parametrize("key", ["events.json", "events.json.gz"])
def test_an_object_is_imported_and_its_lines_twice_only_once(
    transfers: Transfers, s3: S3, key: str, counts: dict[str, int], ends: Counter[tuple[str, str]]
) -> None:
    content = b"".join(b'{"n":%d}\n' % number for number in range(6_000)) + b"{bad\n" + b'{"id":"own"}'
    s3.put(key, gzip.compress(content) if key.endswith("gz") else content)
    collection = key.replace(".", "-")
    job = transfers.import_from("p", collection, place(transfers, s3, key), CREDENTIALS)
    assert (job.status, job.started) == ("Pending", None)
    first = ended(transfers, job)
    assert (first.status, first.error, first.percent_complete) == ("Complete", None, 100)
    assert (first.lines, first.imported_events, first.duplicate_events, first.failed_events) == (6_002, 6_001, 0, 1)
    assert [error.index for error in first.event_errors] == [6_001]
    assert int(first.insert_rate.removesuffix("/s")) > 0
    again = ended(transfers, transfers.import_from("p", collection, place(transfers, s3, key), CREDENTIALS))
    assert (again.imported_events, again.duplicate_events) == (0, 6_001)
    assert counts == {"stored": 6_001, "duplicate": 6_001, "rejected": 2}
    assert ends == {("import", "complete"): 2}


def test_events_are_exported_into_an_object(transfers: Transfers, s3: S3, store: DuckDBStore) -> None:
    insert(store, "exported", 3_000)
    query = Query(filters=(Condition(("n",), "lt", 2_000),))
    job = transfers.export_to("p", "exported", query, place(transfers, s3, "out", is_prefix=True), CREDENTIALS)
    assert job.filename == f"{job.id}.json"
    told = ended(transfers, job)
    assert (told.status, told.error, told.percent_done) == ("Complete", None, 100)
    content = s3.get(f"out/{job.filename}")
    assert told.transferred_bytes == told.total_bytes == len(content)
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["n"] for line in lines] == [*range(2_000)]
    assert lines[1] == {"id": "1", "timestamp": "1970-01-01T00:00:00.001Z", "n": 1}


def test_an_export_of_nothing_is_an_empty_object(transfers: Transfers, s3: S3) -> None:
    job = transfers.export_to("p", "nobody", Query(), place(transfers, s3, "", is_prefix=True), CREDENTIALS)
    assert (ended(transfers, job).status, s3.get(job.filename)) == ("Complete", b"")


def test_an_export_of_too_many_events_fails(
    transfers: Transfers,
    s3: S3,
    store: DuckDBStore,
    monkeypatch: pytest.MonkeyPatch,
    ends: Counter[tuple[str, str]],
) -> None:
    monkeypatch.setattr(service, "MAX_EXPORTED", 10)
    insert(store, "toomany", 11)
    job = transfers.export_to("p", "toomany", Query(), place(transfers, s3, "out", is_prefix=True), CREDENTIALS)
    assert ended(transfers, job).error == "11 events; this export has at most 10: narrow the query"
    assert ends == {("export", "failed"): 1}


def test_what_s3_says_ends_a_transfer_with_the_reason(transfers: Transfers, s3: S3) -> None:
    s3.put("broken.json.gz", gzip.compress(b'{"id":1}\n{"id":2}\n')[:-4])
    for key, error in (
        ("none", "S3 answered NoSuchKey"),
        ("broken.json.gz", "the gzip stream ends too early"),
    ):
        told = ended(transfers, transfers.import_from("p", "failed", place(transfers, s3, key), CREDENTIALS))
        assert (told.status, told.error) == ("Failed", error)
    elsewhere = transfers.place("s3://no-such-bucket/x", None, s3.url, is_prefix=True)
    assert ended(transfers, transfers.export_to("p", "c", Query(), elsewhere, CREDENTIALS)).error == (
        "S3 answered NoSuchBucket"
    )


def test_a_failure_that_nobody_foresaw_is_in_the_log_and_not_in_the_job(
    transfers: Transfers, s3: S3, caplog: pytest.LogCaptureFixture
) -> None:
    transfers._store = None  # type: ignore[assignment]
    told = ended(
        transfers, transfers.export_to("p", "c", Query(), place(transfers, s3, "x", is_prefix=True), CREDENTIALS)
    )
    assert told.error == "the server failed; its log says why"
    assert "AttributeError" in caplog.text


def upload(transfers: Transfers, pieces: Iterable[bytes], collection: str = "uploaded", **options: Any) -> ImportJob:
    job = transfers.jobs.new_import("p", collection)
    settings: dict[str, Any] = {"is_packed": False, "size": None, "stopped": threading.Event(), **options}
    transfers.upload(job, pieces, **settings)
    found = transfers.jobs.find(ImportJob, "p", job.id)
    assert found is not None
    return found


def test_an_upload_is_done_when_it_returns(transfers: Transfers) -> None:
    told = upload(transfers, [b'{"id":1}\n{"i', b'd":2}\n{"id":1}'])
    assert (told.status, told.lines, told.imported_events, told.duplicate_events) == ("Complete", 3, 2, 1)
    packed = gzip.compress(b'{"id":3}')
    assert upload(transfers, [packed[:5], packed[5:]], is_packed=True, size=len(packed)).percent_complete == 100


def test_an_upload_that_fails_says_so_and_raises(transfers: Transfers, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        for number in range(7_000):
            yield b'{"id":"b%d"}\n' % number
        raise OSError(5, "gone")

    for pieces, is_packed, kind, error in (
        ([b"not gzip"], True, DamagedSourceError, "this is not valid gzip"),
        (broken(), False, OSError, r"the server's disk fails: gone, after line [\d,]+"),  # of the last that is stored
    ):
        with pytest.raises(kind):
            upload(transfers, pieces, is_packed=is_packed)  # type: ignore[arg-type]
        [newest, *_] = transfers.jobs.all_of(ImportJob, "p")
        assert newest.status == "Failed"
        assert re.fullmatch(error, newest.error or "")


def test_an_upload_can_be_stopped(transfers: Transfers) -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Exception, match="stopped"):
        upload(transfers, [b"{}\n"], stopped=stopped)
    [newest, *_] = transfers.jobs.all_of(ImportJob, "p")
    assert newest.error == "the server was stopped before this was done"


def test_a_job_that_cannot_be_written_down_is_not_begun(transfers: Transfers, s3: S3, tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("in the way")
    with pytest.raises(StoreError):
        transfers.import_from("p", "c", place(transfers, s3, "x"), CREDENTIALS)


class Hanging:
    """An S3 that answers nothing until it is let go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.server = Misbehaving(self._answer)

    def _answer(self, handler: Any) -> None:
        self.asked.set()
        self.go.wait(20)
        handler.send_error(500)


def test_when_the_server_stops_transfers_end_with_the_reason(
    store: DuckDBStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging()
    transfers = Transfers(
        store, Ingest(store, lambda: 1.5), jobs_in(tmp_path), Endpoints((hanging.server.url,)), concurrent=1
    )
    at = transfers.place(f"{hanging.server.url}/bucket/key", None, None, is_prefix=False)
    running = transfers.import_from("p", "c", at, CREDENTIALS)
    assert hanging.asked.wait(20)
    waiting = transfers.import_from("p", "c", at, CREDENTIALS)
    monkeypatch.setattr(service, "_STOP_WITHIN", 0)
    transfers.close()
    hanging.go.set()
    hanging.server.close()
    for job in (running, waiting):
        told = transfers.jobs.find(ImportJob, "p", job.id)
        assert told is not None
        assert (told.status, told.error) == ("Failed", "the server was stopped before this was done")


def test_a_project_has_only_so_much_waiting(store: DuckDBStore, tmp_path: Path) -> None:
    hanging = Hanging()
    with closing(
        Transfers(store, Ingest(store, lambda: 1.5), jobs_in(tmp_path), Endpoints((hanging.server.url,)), concurrent=1)
    ) as transfers:
        at = transfers.place(f"{hanging.server.url}/bucket/key", None, None, is_prefix=False)
        transfers.import_from("p", "c", at, CREDENTIALS)
        assert hanging.asked.wait(20)
        for _ in range(service.MAX_WAITING):
            transfers.import_from("p", "c", at, CREDENTIALS)
        with pytest.raises(TooManyWaitingError):
            transfers.import_from("p", "c", at, CREDENTIALS)
        assert len(transfers.jobs.all_of(ImportJob, "p")) == service.MAX_WAITING + 1
        hanging.go.set()
    hanging.server.close()


def test_files_of_jobs_hold_no_credentials(transfers: Transfers, s3: S3, tmp_path: Path) -> None:
    s3.put("key", b"{}")
    ended(transfers, transfers.import_from("p", "secret", place(transfers, s3, "key"), CREDENTIALS))
    ended(transfers, transfers.import_from("p", "secret", place(transfers, s3, "none"), CREDENTIALS))

    def written() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.rglob("*.json") if path.is_file())

    until(lambda: b"NoSuchKey" in written())  # the file is written after what is asked for in memory
    assert not any(secret.encode() in written() for secret in KEYS.values())


def test_without_the_extra_it_says_what_is_missing(transfers: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "find_spec", lambda name: None)
    with pytest.raises(NoS3Error, match=r"pip install 'connect-logging\[s3\]'"):
        transfers.place("s3://bucket/key", None, None, is_prefix=False)


def test_ids_of_lines_differ_by_source_and_line_and_rise_with_the_line() -> None:
    one, two = bytes(range(16)), bytes(range(1, 17))
    numbers = [*range(1, 5_000), 2**28 - 1, 2**28, 2**28 + 1, 2**40]
    ids = [line_id(one, number) for number in numbers]
    assert ids == [line_id(one, number) for number in numbers]
    assert len({*ids, *(line_id(two, number) for number in numbers)}) == 2 * len(numbers)
    assert ids[:5_000] == sorted(ids[:5_000])
    assert {len(each) for each in ids} == {36}


def test_what_an_import_held_that_failed_is_freed(
    transfers: Transfers, store: DuckDBStore, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a search for cycles, which a server makes seldom."""
    held: list[weakref.ref[Future[Stored]]] = []

    def insert(*_: object) -> Future[Stored]:
        future: Future[Stored] = Future()
        future.set_exception(StoreError("the disk is full"))
        held.append(weakref.ref(future))
        return future

    monkeypatch.setattr(store, "insert", insert)
    s3.put("unstored.json", b"{}\n")
    gc.disable()
    try:
        job = transfers.import_from("p", "unstored", place(transfers, s3, "unstored.json"), CREDENTIALS)
        assert ended(transfers, job).error == "the disk is full"
        [future] = held
        until(lambda: future() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_upload_of_blank_lines_can_be_stopped(transfers: Transfers, *, is_packed: bool) -> None:
    stopped = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"\n" if not is_packed else gzip.compress(b"\n")
        stopped.set()
        yield b"\n" * 100 if not is_packed else gzip.compress(b"\n" * 10_000_000)
        raise AssertionError

    with pytest.raises(StoppedError):
        upload(transfers, pieces(), is_packed=is_packed, stopped=stopped)
