"""Exports over HTTP: small ones as documented, downloads in each format, filtered keys, and clients that go."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import requests
from server_process import ServerProcess
from spooling import LONG, until

from connect_logging.security import seal_filtered_key

MANY = 1_000_000 if LONG else 40_000
FORMATS = ("jsonl", "csv", "parquet")


@pytest.fixture(scope="module")
def shop(server: ServerProcess) -> ServerProcess:
    server.push(
        "shop",
        {"id": 2, "timestamp": "2026-03-01T09:30:00.123456Z", "price": 7, "tenant": 1, "tags": ["a"]},
        {"id": "1", "timestamp": "2026-03-01T09:30:00.123456Z", "price": 5, "tenant": 2, "name": "=1+1"},
        {"id": "3", "timestamp": "2026-02-01T00:00:00+01:00", "customer": {"country": "AU"}, "tenant": 1},
    )
    return server


@pytest.fixture(scope="module")
def many(server: ServerProcess) -> ServerProcess:
    for start in range(0, MANY, 5_000):
        server.push("many", *({"id": n, "n": n, "text": "x" * 100} for n in range(start, start + 5_000)))
    return server


def export(server: ServerProcess, query: Any, collection: str = "shop", **more: Any) -> requests.Response:
    headers = more.pop("headers", None)
    stream = more.pop("stream", False)
    parameters = {"query": json.dumps(query), **more}
    return server.request("GET", f"/events/{collection}/export", params=parameters, headers=headers, stream=stream)


def ids(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [event["id"] for event in answer.json()["results"]]


def test_a_small_export_has_the_documented_shape(shop: ServerProcess) -> None:
    answer = export(shop, {})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "results": [
            {"id": "3", "timestamp": "2026-01-31T23:00:00.000Z", "customer": {"country": "AU"}, "tenant": 1},
            {"id": "1", "timestamp": "2026-03-01T09:30:00.123Z", "price": 5, "tenant": 2, "name": "=1+1"},
            {"id": "2", "timestamp": "2026-03-01T09:30:00.123Z", "price": 7, "tenant": 1, "tags": ["a"]},
        ]
    }
    assert export(shop, {}, "nobody").json() == {"results": []}


def test_filter_and_timeframe_choose(shop: ServerProcess) -> None:
    assert ids(export(shop, {"filter": {"price": {"gt": 5}}})) == ["2"]
    assert ids(export(shop, {"timeframe": {"end": "2026-02-15T00:00:00Z"}})) == ["3"]
    assert ids(shop.request("GET", "/events/shop/export?query={filter:{price:5}}")) == ["1"]


def test_a_filtered_key_exports_what_its_filters_leave(shop: ServerProcess) -> None:
    key = seal_filtered_key({"filters": {"tenant": 1}, "canQuery": True}, shop.keys["master"], shop.project_id)
    headers = {"X-Project-Id": shop.project_id, "X-Api-Key": key}
    assert ids(export(shop, {}, headers=headers)) == ["3", "2"]
    assert ids(export(shop, {"filter": {"tenant": 2}}, headers=headers)) == []
    assert ids(export(shop, {"filter": {"or": [{"tenant": 2}, {"price": 7}]}}, headers=headers)) == ["2"]
    assert [json.loads(line)["id"] for line in export(shop, {}, headers=headers, format="jsonl").text.splitlines()] == [
        "3",
        "2",
    ]


def test_each_format_is_a_file_with_a_name(shop: ServerProcess) -> None:
    lines = export(shop, {}, format="jsonl")
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    assert lines.headers["Content-Disposition"] == (
        "attachment; filename=\"export.jsonl\"; filename*=UTF-8''shop.jsonl"
    )
    assert json.loads(lines.text.splitlines()[1]) == {
        "id": "1",
        "timestamp": "2026-03-01T09:30:00.123456Z",
        "price": 5,
        "tenant": 2,
        "name": "=1+1",
    }
    named = export(shop, {}, "ж 2", format="csv").headers["Content-Disposition"]
    assert named == "attachment; filename=\"export.csv\"; filename*=UTF-8''%D0%B6%202.csv"
    table = export(shop, {}, format="csv")
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert [*csv.reader(io.StringIO(table.text, newline=""))] == [
        ["id", "timestamp", "customer.country", "name", "price", "tags", "tenant"],
        ["3", "2026-01-31T23:00:00.000000Z", "AU", "", "", "", "1"],
        ["1", "2026-03-01T09:30:00.123456Z", "", "'=1+1", "5", "", "2"],
        ["2", "2026-03-01T09:30:00.123456Z", "", "", "7", '["a"]', "1"],
    ]
    parquet = export(shop, {"filter": {"price": {"exists": True}}}, format="parquet")
    assert parquet.headers["Content-Type"] == "application/vnd.apache.parquet"
    assert pyarrow.parquet.read_table(io.BytesIO(parquet.content))["price"].to_pylist() == [5, 7]


def test_what_is_wrong_is_said_by_field(shop: ServerProcess) -> None:
    for target, field in (
        ("/events/shop/export", "query"),
        ("/events/shop/export?query={", "query"),
        ('/events/shop/export?query={"select":{"n":"count"}}', "select"),
        ("/events/shop/export?query={}&format=xml", "format"),
        ("/events/shop/export?query={}&format=", "format"),
        ("/events/a%2Bb/export?query={}", "collection"),
    ):
        answer = shop.request("GET", target)
        assert answer.status_code == 422, target
        assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_over_10000_events_are_too_many_for_a_small_export(many: ServerProcess) -> None:
    answer = export(many, {}, "many")
    assert answer.status_code == 413
    assert "10,000" in answer.json()["errorMessage"]
    small = export(many, {"filter": {"n": {"lt": 10_000}}}, "many")
    assert len(ids(small)) == 10_000


def resident(server: ServerProcess) -> int:
    """MiB of its memory."""
    [pages] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    return int(pages) // 1024


@pytest.mark.timeout(600)
@pytest.mark.parametrize("format_", FORMATS)
def test_a_download_has_every_event_once_in_flat_memory(many: ServerProcess, format_: str, figure: Any) -> None:
    before = highest = resident(many)
    answer = export(many, {}, "many", format=format_, stream=True)
    assert answer.status_code == 200
    body = io.BytesIO()
    for piece in answer.iter_content(1 << 20):
        body.write(piece)
        highest = max(highest, resident(many))
    figure(f"{MANY:,} events as {format_}", f"{body.tell():,} bytes, the server from {before} to {highest} MiB")
    body.seek(0)
    if format_ == "jsonl":
        found = [json.loads(line)["n"] for line in body]
    elif format_ == "csv":
        found = [int(row["n"]) for row in csv.DictReader(io.TextIOWrapper(body, newline=""))]
    else:
        found = pyarrow.parquet.read_table(body)["n"].to_pylist()
    assert sorted(found) == list(range(MANY))
    if format_ != "parquet":  # which the database sorts within its memory limit
        assert highest - before < 150


def asked(server: ServerProcess, format_: str) -> socket.socket:
    """A connection that has asked for an export, and takes little at a time."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(("127.0.0.1", server.port))
    head = [f"GET /events/many/export?query={{}}&format={format_} HTTP/1.1", "Host: x"]
    head += [f"{name}: {value}" for name, value in server.headers().items()]
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    return connection


@pytest.mark.parametrize("format_", FORMATS)
def test_a_client_that_goes_ends_its_export(many: ServerProcess, format_: str) -> None:
    with asked(many, format_) as connection:
        assert format_ == "parquet" or connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    scratch = many.data / "events.duckdb.scratch"
    until(lambda: not scratch.exists() or not any(scratch.iterdir()))
    assert many.count("many") == MANY
    assert "Traceback" not in many.errors


def test_an_export_that_is_cut_off_is_no_whole_one(many: ServerProcess) -> None:
    """The server is killed in the middle of it; the last chunk is missing."""
    with asked(many, "jsonl") as connection:
        received = connection.recv(1_000)
        many.kill()
        with suppress(ConnectionResetError):
            while part := connection.recv(1 << 20):
                received = part
    many.restart()
    assert not received.endswith(b"\r\n0\r\n\r\n")
    assert many.count("many") == MANY


def test_files_of_an_export_are_private_and_gone_after_a_kill(many: ServerProcess) -> None:
    scratch = many.data / "events.duckdb.scratch"
    modes: set[int] = set()

    def seen() -> set[int]:
        with suppress(FileNotFoundError):
            modes.update(file.stat().st_mode & 0o777 for file in scratch.iterdir())
        return modes

    with ExitStack() as asking:
        for _ in range(8):
            asking.enter_context(asked(many, "parquet"))
        until(seen)
        many.kill()
    assert modes == {0o600}
    assert scratch.stat().st_mode & 0o777 == 0o700
    many.restart()
    assert not scratch.exists()
    assert len(export(many, {"filter": {"n": {"lt": 3}}}, "many", format="jsonl").text.splitlines()) == 3
