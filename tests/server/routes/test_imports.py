"""Imports and exports to S3 over HTTP: uploads, jobs, clients that go, and a server that is killed meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests
from backed import backed
from s3_server import KEYS, S3, serving_s3
from server_process import ServerProcess
from spooling import LONG, until

from connect_logging.server.app import make_app
from connect_logging.server.projects import ProjectFile
from connect_logging.server.settings import Settings
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.transfers.job_files import JobFiles
from connect_logging.server.transfers.jobs import ImportJob, Jobs

from ..asgi import ask

MANY = 1_000_000 if LONG else 60_000
LINES = {"Content-Type": "application/x-ndjson"}
SECRETS = {"s3AccessKeyId": KEYS["aws_access_key_id"], "s3SecretAccessKey": KEYS["aws_secret_access_key"]}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with serving_s3() as serving:
        yield serving


@pytest.fixture(scope="module")
def server(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path_factory.mktemp("server") / "data", options=["--s3-endpoint", s3.url])
    yield running
    running.stop()


def upload(server: ServerProcess, collection: str, body: Any, **headers: str) -> requests.Response:
    return requests.post(
        f"{server.url}/event-import",
        params={"collection": collection},
        data=body,
        headers={**server.headers("push"), **LINES, **headers},
        timeout=600,
    )


def told(server: ServerProcess, location: str) -> dict[str, Any]:
    """The job at a Location."""
    answer = requests.get(
        location.replace(re.sub("/event.*", "", location), server.url), headers=server.headers(), timeout=9
    )
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


def ended(server: ServerProcess, location: str) -> dict[str, Any]:
    until(lambda: told(server, location)["finished"])
    return told(server, location)


def newest(server: ServerProcess) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", "/event-import").json()["imports"][0]
    return found


def test_an_upload_is_answered_with_its_job_when_it_is_done(server: ServerProcess) -> None:
    answer = upload(server, "up", b'{"id":1,"a":1}\n\nnope\n{"id":1}\n{"a.b":1}')
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["Location"] == f"{server.url}/event-import/{job['id']}"
    assert re.fullmatch("[0-9a-f]{24}", job["id"])
    times = [job.pop(name) for name in ("created", "started", "finished")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each) for each in times)
    assert re.fullmatch(r"\d+/s", job.pop("insertRate"))
    assert job == {
        "id": job["id"],
        "collection": "up",
        "status": "Complete",
        "error": None,
        "lines": 5,
        "importedEvents": 1,
        "duplicateEvents": 1,
        "failedEvents": 2,
        "percentComplete": 100,
        "eventErrors": [
            {"index": 3, "error": "not JSON: JSON is malformed: invalid character (byte 4)"},
            {"index": 5, "error": "invalid event: a.b: a property's name must not contain a dot"},
        ],
    }
    assert told(server, answer.headers["Location"]) == answer.json() == newest(server)
    assert server.count("up") == 1


def test_an_upload_may_be_gzip_and_without_a_length(server: ServerProcess) -> None:
    packed = gzip.compress(b"".join(b'{"id":%d}\n' % number for number in range(1_000)))
    assert upload(server, "gz", packed, **{"Content-Encoding": "gzip"}).json()["importedEvents"] == 1_000
    pieces = (packed[start : start + 100] for start in range(0, len(packed), 100))
    again = upload(server, "gz", pieces, **{"Content-Encoding": "gzip"}).json()
    assert (again["duplicateEvents"], again["percentComplete"]) == (1_000, 100)


def test_what_is_wrong_with_an_upload_is_said(server: ServerProcess) -> None:
    for collection, headers, status in (
        ("a/b", {}, 422),
        ("", {}, 422),
        ("c", {"Content-Type": "application/json"}, 422),
        ("c", {"Content-Type": "Application/JSON ; charset=utf-8"}, 422),
        ("c", {"Content-Encoding": "br"}, 415),
    ):
        assert upload(server, collection, b"{}", **headers).status_code == status
    damaged = upload(server, "damaged", b"not gzip", **{"Content-Encoding": "gzip"})
    assert (damaged.status_code, damaged.json()) == (
        400,
        {"errorMessage": "the import failed: this is not valid gzip"},
    )
    assert told(server, damaged.headers["Location"])["status"] == "Failed"


def test_a_job_is_told_to_its_project_alone(server: ServerProcess) -> None:
    location = upload(server, "own", b"{}").headers["Location"]
    path = location.removeprefix(server.url)
    other = ProjectFile(server.data / "projects.json").create()
    headers = {"X-Project-Id": other.id, "X-Api-Key": other.keys.master}
    assert server.request("GET", path).status_code == 200
    answer = server.request("GET", path, headers=headers)
    assert (answer.status_code, answer.json()) == (404, {"errorMessage": "there is no such import"})
    assert server.request("GET", "/event-import", headers=headers).json() == {"imports": []}
    identity = path.rpartition("/")[2]
    assert server.request("GET", f"/events/own/export/{identity}").status_code == 404


def sending(server: ServerProcess, collection: str, lines: int) -> socket.socket:
    """A connection that has sent the head of an upload and ``lines`` lines of ten times as many."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = b"".join(b'{"id":%d,"n":%d}\n' % (number, number) for number in range(lines))
    head = [f"POST /event-import?collection={collection} HTTP/1.1", "Host: x", f"Content-Length: {10 * len(body)}"]
    head += [f"{name}: {value}" for name, value in {**server.headers("push"), **LINES}.items()]
    connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
    return connection


def numbered(count: int) -> Iterator[bytes]:
    for start in range(0, count, 5_000):
        yield b"".join(b'{"id":%d,"n":%d}\n' % (number, number) for number in range(start, min(count, start + 5_000)))


def test_of_an_upload_that_breaks_off_what_was_committed_stays(server: ServerProcess) -> None:
    with sending(server, "broken", 12_000):
        until(lambda: server.count("broken") == 10_000)
    until(lambda: newest(server)["finished"])
    job = newest(server)
    assert (job["status"], job["error"]) == ("Failed", "the upload broke off, after line 10,000")
    assert job["importedEvents"] == server.count("broken") == 10_000
    again = upload(server, "broken", numbered(12_000)).json()
    assert (again["importedEvents"], again["duplicateEvents"]) == (2_000, 10_000)
    assert "Traceback" not in server.errors


def test_of_an_upload_to_a_server_that_is_killed_what_was_committed_stays(server: ServerProcess) -> None:
    with sending(server, "killed", 12_000):
        until(lambda: server.count("killed") == 10_000)
        server.kill()
    server.restart()
    job = newest(server)
    assert job["status"] == "Failed"
    assert re.fullmatch(r"the server ended before this was done(, after line (5|10),000)?", job["error"])
    assert server.count("killed") == 10_000
    again = upload(server, "killed", numbered(12_000)).json()
    assert (again["importedEvents"], again["duplicateEvents"]) == (2_000, 10_000)
    assert server.count("killed") == 12_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_upload_that_stalls_ends_with_the_server_and_is_no_failure_of_that(tmp_path: Path, number: int) -> None:
    running = ServerProcess(tmp_path / "data", options=["--stop-timeout", "0"])
    try:
        with sending(running, "stalled", 6_000):
            until(lambda: running.count("stalled") == 5_000)
            assert running.stop(number) in (0, -number)
        assert not re.search("unhandled|CancelledError|RunFinishedError", running.errors)
        running.restart()
        job = newest(running)
        assert job["status"] == "Failed"
        assert re.fullmatch(r"the server was stopped before this was done(, after line 5,000)?", job["error"])
    finally:
        running.stop()


def resident(server: ServerProcess) -> int:
    """MiB of its memory."""
    [pages] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    return int(pages) // 1024


@pytest.mark.timeout(600)
def test_an_upload_of_many_events_takes_flat_memory(server: ServerProcess, figure: Any) -> None:
    before = highest = resident(server)

    def watched() -> Iterator[bytes]:
        nonlocal highest
        for piece in numbered(MANY):
            highest = max(highest, resident(server))
            yield piece

    job = upload(server, "many", watched()).json()
    assert (job["status"], job["importedEvents"]) == ("Complete", MANY)
    figure(f"{MANY:,} lines uploaded", f"{job['insertRate']}, the server from {before} to {highest} MiB")
    assert server.count("many") == MANY
    assert highest - before < 300


def test_s3_is_imported_from_and_exported_to(server: ServerProcess, s3: S3) -> None:
    s3.put("in/a b.json", b'{"id":"1","n":1,"timestamp":"2026-03-01T00:00:00Z"}\n{"n":2}\n')
    started = server.request(
        "POST", "/event-import", {"collection": "s3", "s3Path": f"{s3.url}/bucket-1/in/a%20b.json", **SECRETS}
    )
    assert started.status_code == 201
    assert started.json()["status"] == "Pending"
    imported = ended(server, started.headers["Location"])
    assert (imported["status"], imported["importedEvents"]) == ("Complete", 2)
    document = {"query": {"filter": {"n": 1}}, "s3Path": "s3://bucket-1/out/", "s3Endpoint": s3.url, **SECRETS}
    started = server.request("POST", "/events/s3/export", document)
    assert started.status_code == 201
    assert started.headers["Location"] == f"{server.url}/events/s3/export/{started.json()['id']}"
    exported = ended(server, started.headers["Location"])
    assert {name: exported[name] for name in ("status", "percentDone", "collection", "error")} == {
        "status": "Complete",
        "percentDone": 100,
        "collection": "s3",
        "error": None,
    }
    content = s3.get(f"out/{exported['filename']}")
    assert content == b'{"id":"1","timestamp":"2026-03-01T00:00:00.000Z","n":1}\n'
    assert exported["transferredBytes"] == exported["totalBytes"] == len(content)
    assert server.request("GET", f"/events/other/export/{exported['id']}").status_code == 404
    elsewhere = server.request("POST", "/events/%D0%B6/export", document).headers["Location"]
    assert elsewhere.startswith(f"{server.url}/events/%D0%B6/export/")
    assert server.request("GET", f"/event-import/{exported['id']}").status_code == 404


@pytest.mark.parametrize(
    ("target", "document", "field"),
    [
        ("/event-import", {}, "collection"),
        ("/event-import", {"collection": "a/b"}, "collection"),
        ("/event-import", {"collection": "c", "s3Path": "s3://bucket-1/"}, "s3Path"),
        ("/event-import", {"collection": "c", "s3Path": "http://169.254.169.254/latest/meta-data"}, "s3Path"),
        ("/event-import", {"collection": "c", "s3Endpoint": "https://evil.example"}, "s3Endpoint"),
        ("/events/c/export", {}, "query"),
        ("/events/c/export", {"query": "{}"}, "query"),
        ("/events/c/export", {"query": {"select": {"n": "count"}}}, "select"),
        ("/events/c/export", {"query": {}, "s3Region": "nowhere"}, "s3Region"),
        ("/events/a%2Bb/export", {"query": {}}, "collection"),
    ],
)
def test_what_is_wrong_with_a_document_is_said_by_field(
    server: ServerProcess, target: str, document: dict[str, Any], field: str
) -> None:
    answer = server.request("POST", target, {"s3Path": "s3://bucket-1/key", **SECRETS, **document})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert SECRETS["s3SecretAccessKey"] not in answer.text


def test_a_document_that_is_none_or_too_large_is_refused(server: ServerProcess) -> None:
    assert server.request("POST", "/event-import", b"[").status_code == 400
    assert server.request("POST", "/events/c/export", b"[]").status_code == 400
    assert server.request("POST", "/event-import", b" " * 65_537).status_code == 413
    assert server.request("POST", "/events/c/export", b" " * 1_048_577).status_code == 413


def test_transfers_with_s3_that_a_kill_has_ended_say_so_and_nothing_comes_twice(server: ServerProcess, s3: S3) -> None:
    """Lines have no ids of their own: those of the object and the line number make them."""
    s3.put("large.json", b"".join(b'{"n":%d,"text":"%s"}\n' % (number, b"x" * 200) for number in range(40_000)))
    document = {"collection": "large", "s3Path": "s3://bucket-1/large.json", "s3Endpoint": s3.url, **SECRETS}
    locations = [server.request("POST", "/event-import", document).headers["Location"] for _ in range(3)]
    export = {"query": {}, "s3Path": "s3://bucket-1/out", "s3Endpoint": s3.url, **SECRETS}
    locations.append(server.request("POST", "/events/large/export", export).headers["Location"])
    until(lambda: any(told(server, location)["lines"] > 0 for location in locations[:2]))
    server.kill()
    server.restart()
    jobs = [told(server, location) for location in locations]
    assert all(job["finished"] for job in jobs)
    assert {job["status"] for job in jobs[2:]} == {"Failed"}
    assert all(job["error"].startswith("the server ended before this was done") for job in jobs if job["error"])
    assert not any(
        secret in path.read_text() for path in (server.data / "jobs").iterdir() for secret in SECRETS.values()
    )
    again = ended(server, server.request("POST", "/event-import", document).headers["Location"])
    assert again["importedEvents"] + again["duplicateEvents"] == 40_000
    assert server.count("large") == 40_000
    assert server.query("large", {"select": {"n": {"distinct": "n"}}}) == [{"n": 40_000}]
    assert not any(secret in server.errors for secret in SECRETS.values())
    assert not [*(server.data / "jobs").glob("[!0-9a-f]*")]


class InProcess:
    """The app in this process, on a store of its own. ``most``: collections."""

    def __init__(self, data: Path, most: int = 9, **settings: Any) -> None:
        self._opened = ExitStack()
        self.store = DuckDBStore(
            data / "events.duckdb",
            memory_limit="256MB",
            threads=1,
            query_timeout=9,
            max_waiting=2**26,
            max_collections=most,
        )
        self._opened.callback(self.store.close)
        projects = ProjectFile(data / "projects.json")
        self.project = projects.create()
        self.app = make_app(Settings(data, **settings), backed(data, self.store, projects), opened=self._opened)
        self.headers = {"X-Project-Id": self.project.id, "X-Api-Key": self.project.keys.master, **LINES}

    def close(self) -> None:
        self._opened.close()


@pytest.fixture
def in_process(tmp_path: Path) -> Iterator[InProcess]:
    made = InProcess(tmp_path, max_uploads=1)
    yield made
    made.close()


def test_an_upload_of_one_collection_more_than_there_may_be_tells_its_job(tmp_path: Path) -> None:
    with closing(InProcess(tmp_path, most=1)) as only:
        assert ask(only.app, "POST", "/event-import?collection=a", [b"{}"], only.headers).status == 201
        answer = ask(only.app, "POST", "/event-import?collection=b", [b"{}"], only.headers)
        assert answer.status == 413
        assert answer.json()["errorMessage"].startswith("the import failed: a project has at most 1 collections")
        location = answer.headers["location"]
        job = ask(only.app, "GET", location[location.index("/event-import") :], headers=only.headers).json()
        assert (job["status"], job["collection"], job["lines"]) == ("Failed", "b", 0)


async def begun(in_process: InProcess, sent: list[Any]) -> asyncio.Task[None]:
    """An upload of which the first line was sent, and no more comes. ``sent``: gets what it is answered."""
    asked = 0
    is_waiting = threading.Event()

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked > 1:
            is_waiting.set()
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"{}\n", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/event-import",
        "raw_path": b"/event-import",
        "query_string": b"collection=c",
        "headers": [(name.lower().encode(), value.encode()) for name, value in in_process.headers.items()],
        "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
    }
    task = asyncio.create_task(in_process.app(scope, receive, send))  # type: ignore[arg-type]
    await asyncio.to_thread(is_waiting.wait, 10)
    return task


def test_an_upload_ends_with_the_server_and_there_are_only_so_many(in_process: InProcess, tmp_path: Path) -> None:
    async def run() -> list[int]:
        sent: list[Any] = []
        task = await begun(in_process, sent)
        second = await asyncio.to_thread(
            ask, in_process.app, "POST", "/event-import?collection=c", (b"{}",), in_process.headers
        )
        task.cancel()
        await task
        return [second.status, sent[0]["status"]]

    assert asyncio.run(run()) == [503, 503]
    [job] = Jobs(JobFiles(tmp_path / "jobs")).all_of(ImportJob, in_process.project.id)
    assert (job.status, job.error) == ("Failed", "the server was stopped before this was done")
    third = ask(in_process.app, "POST", "/event-import?collection=c", (b"{}",), in_process.headers)
    assert (third.status, third.json()["importedEvents"]) == (201, 1)


def test_a_store_that_fails_fails_an_upload(in_process: InProcess) -> None:
    in_process.store.close()
    answer = ask(in_process.app, "POST", "/event-import?collection=c", (b"{}",), in_process.headers)
    assert answer.status == 503
    assert json.loads(answer.body) == {"errorMessage": "the import failed: the server is stopping"}
    assert "location" in answer.headers
