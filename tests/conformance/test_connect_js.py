"""The real connect-js, of npm, pushes to the server and asks it questions.

Skipped, with the reason, where Node is missing or the package cannot be had.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from packages import installed
from server_process import ServerProcess

PACKAGE: Final = "connect-js@0.5.8"
DRIVER: Final = Path(__file__).with_name("connect_js.js")

Call: TypeAlias = list[list[Any]]
"""A chain of methods with their arguments: ``[["query", "shop"], ["groupBy", "city"], ["execute"]]``."""
Run: TypeAlias = Callable[..., list[Any]]

EVENTS: Final[list[dict[str, Any]]] = [
    {
        "id": "1",
        "timestamp": "2026-03-01T09:30:00Z",
        "kind": "tea",
        "price": 2.5,
        "buyer": {"city": "Perth", "age": 20},
    },
    {"id": "2", "timestamp": "2026-03-01T23:30:00Z", "kind": "tea", "price": 4, "buyer": {"city": "Perth", "age": 40}},
    {"id": "3", "timestamp": "2026-03-02T00:30:00Z", "kind": "cake", "price": 7.5, "buyer": {"city": "Ulm"}},
    {"id": "4", "timestamp": "2026-03-04T12:00:00Z", "kind": "50%_cake", "price": 1, "gift": True},
]


@pytest.fixture(scope="module")
def modules() -> Path:
    """The directory ``node_modules`` with the package in it."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no Node here: node and npm must be on the PATH")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=0"]
    return installed(PACKAGE, [npm, "install", "--prefix=.", *options, PACKAGE], "node_modules")


@pytest.fixture
def run(modules: Path, server: ServerProcess) -> Run:
    """Make calls with a key, one after the other, and return what each came to."""

    def call(*calls: Call, key: str = server.keys["push_query"], url: str = server.url) -> list[Any]:
        config = {"baseUrl": url, "projectId": server.project_id, "apiKey": key}
        done = subprocess.run(
            ["node", str(DRIVER)],
            input=json.dumps({"config": config, "calls": calls}),
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": str(Path(shutil.which("node") or "").parent), "NODE_PATH": str(modules)},
        )
        assert done.returncode == 0, done.stderr
        outcomes: list[Any] = json.loads(done.stdout)
        return outcomes

    return call


def ask(collection: str, *chain: list[Any]) -> Call:
    return [["query", collection], *chain, ["execute"]]


@pytest.fixture(scope="module")
def shop(server: ServerProcess) -> str:
    """A collection with EVENTS."""
    server.push("shop", *EVENTS)
    return "shop"


def test_events_are_pushed_alone_in_a_batch_and_in_batches(run: Run, server: ServerProcess) -> None:
    stored = {"success": True, "duplicate": False, "message": None}
    results = run(
        [["push", "alone", {"id": 1, "price": 2.5, "at": {"$date": "2026-03-01T09:30:00Z"}}]],
        [["push", "alone", {"id": 1}]],
        [["push", "batch", [{"id": 1}, {"id": 1}, {"a.b": 1}]]],
        [["push", {"batch": [{"id": 2}], "other": [{"id": 1}], "none": []}]],
    )
    assert results[:2] == [{"value": ""}, {"value": ""}]
    first, second, third = results[2]["value"]["batch"]
    assert [first, second] == [stored, {**stored, "duplicate": True}]
    assert (third["success"], third["duplicate"]) == (False, False)
    assert "a.b" in third["message"]
    assert results[3] == {"value": {"batch": [stored], "other": [stored], "none": []}}
    assert [server.count(name) for name in ("alone", "batch", "other")] == [1, 2, 1]
    assert server.query("alone", {"groupBy": "at", "select": {"s": {"sum": "price"}}}) == [
        {"at": "2026-03-01T09:30:00.000Z", "s": 2.5}
    ]


def test_aggregates_groups_and_filters(run: Run, shop: str) -> None:
    select = {
        "n": "count",
        "total": {"sum": "price"},
        "mean": {"avg": "price"},
        "low": {"min": "price"},
        "high": {"max": "buyer.age"},
    }
    count = ["select", {"n": "count"}]
    everything, grouped, *filtered, names = run(
        ask(shop, ["select", select]),
        ask(shop, ["select", select], ["groupBy", "buyer.city"], ["groupBy", ["gift"]]),
        ask(shop, count, ["filter", {"kind": "tea"}]),
        ask(shop, count, ["filter", {"kind": {"ne": "tea"}}]),
        ask(shop, count, ["filter", {"kind": ["tea", "cake"]}]),
        ask(shop, count, ["filter", {"price": {"gte": 2.5, "lt": 7.5}}]),
        ask(shop, count, ["filter", {"price": {"gt": 1}}], ["filter", {"price": {"lte": 4}}]),
        ask(shop, count, ["filter", {"buyer.city": {"exists": False}}]),
        ask(shop, count, ["filter", {"buyer.city": None}]),
        ask(shop, count, ["filter", {"kind": {"startsWith": "50%_"}}]),
        ask(shop, count, ["filter", {"kind": {"endsWith": "_cake"}}]),
        ask(shop, count, ["filter", {"kind": {"contains": "cake"}, "gift": True}]),
        ask(shop, ["groupBy", "kind"]),
    )
    plain: dict[str, Any] = {"groups": [], "interval": None, "timezone": None}
    assert everything["value"] == {
        "metadata": plain,
        "results": [{"n": 4, "total": 15, "mean": 3.75, "low": 1, "high": 40}],
    }
    assert everything["selects"] == ["n", "total", "mean", "low", "high"]
    assert everything["cacheKey"]
    assert grouped["value"] == {
        "metadata": {**plain, "groups": ["buyer.city", "gift"]},
        "results": [
            {"buyer.city": "Perth", "gift": None, "n": 2, "total": 6.5, "mean": 3.25, "low": 2.5, "high": 40},
            {"buyer.city": "Ulm", "gift": None, "n": 1, "total": 7.5, "mean": 7.5, "low": 7.5, "high": None},
            {"buyer.city": None, "gift": True, "n": 1, "total": 1, "mean": 1, "low": 1, "high": None},
        ],
    }
    assert [each["value"]["results"][0]["n"] for each in filtered] == [2, 2, 3, 2, 2, 1, 1, 1, 1, 1]
    assert names["selects"] == []
    assert [row["kind"] for row in names["value"]["results"]] == ["50%_cake", "cake", "tea"]


def test_timeframes_and_time_zones(run: Run, server: ServerProcess, shop: str) -> None:
    now = datetime.now(UTC)
    midnight = now.astimezone(timezone(timedelta(hours=10))).replace(hour=0, minute=0, second=0, microsecond=0)
    server.push("recent", *({"timestamp": (now - timedelta(days=days)).isoformat()} for days in (0, 1, 1, 40)))
    server.push("brisbane", *({"timestamp": (midnight - timedelta(hours=hours)).isoformat()} for hours in (0, 1, 2)))
    count = ["select", {"n": "count"}]
    second_of_march = {"start": "2026-03-02T00:00:00Z", "end": {"$date": "2026-03-03T00:00:00Z"}}
    *counted, refused = run(
        ask(shop, count, ["timeframe", second_of_march]),
        ask(shop, count, ["timeframe", {"start": "2026-03-01T23:30:00Z"}]),
        ask(shop, count, ["timeframe", {"end": "2026-03-01T23:30:00Z"}]),
        ask("recent", count, ["timeframe", "yesterday"]),
        ask("recent", count, ["timeframe", {"current": {"days": 2}}]),
        ask("brisbane", count, ["timeframe", "today"], ["timezone", 10]),
        ask("brisbane", count, ["timeframe", {"previous": {"days": 1}}], ["timezone", "Australia/Brisbane"]),
        ask("recent", count, ["timezone", 10]),
    )
    if datetime.now(UTC).date() != now.date() or datetime.now(midnight.tzinfo).date() != midnight.date():
        pytest.skip("midnight has just passed")
    assert [each["value"]["results"][0]["n"] for each in counted] == [1, 3, 1, 2, 3, 1, 2]
    assert "timezone" in refused["thrown"], "connect-js refuses it by itself"


def test_intervals(run: Run, shop: str) -> None:
    select = ["select", {"n": "count", "total": {"sum": "price"}}]
    march = ["timeframe", {"start": "2026-03-01T00:00:00Z", "end": "2026-03-05T00:00:00Z"}]
    days, grouped, zoned = run(
        ask(shop, select, march, ["interval", "daily"]),
        ask(shop, select, march, ["interval", "weekly"], ["groupBy", "kind"]),
        ask(shop, ["select", {"n": "count"}], march, ["interval", "daily"], ["timezone", "Australia/Brisbane"]),
    )
    assert days["value"]["metadata"] == {"groups": [], "interval": "daily", "timezone": None}
    assert days["selects"] == ["n", "total"]
    assert [each["interval"]["start"] for each in days["value"]["results"]] == [
        f"2026-03-0{day}T00:00:00.000Z" for day in range(1, 5)
    ], "connect-js has made a Date of each"
    assert days["value"]["results"][0]["interval"]["end"] == "2026-03-02T00:00:00.000Z"
    assert [each["results"] for each in days["value"]["results"]] == [
        [{"n": 2, "total": 6.5}],
        [{"n": 1, "total": 7.5}],
        [],
        [{"n": 1, "total": 1}],
    ]
    assert grouped["value"]["metadata"] == {"groups": ["kind"], "interval": "weekly", "timezone": None}
    assert [each["results"] for each in grouped["value"]["results"]] == [
        [
            {"kind": "50%_cake", "n": 1, "total": 1},
            {"kind": "cake", "n": 1, "total": 7.5},
            {"kind": "tea", "n": 2, "total": 6.5},
        ]
    ]
    assert zoned["value"]["metadata"]["timezone"] == "Australia/Brisbane"
    counted = {each["interval"]["start"]: each["results"] for each in zoned["value"]["results"]}
    assert counted["2026-02-28T14:00:00.000Z"] == [{"n": 1}]
    assert counted["2026-03-01T14:00:00.000Z"] == [{"n": 2}]


def test_errors_reach_the_callers_callback(run: Run, server: ServerProcess, shop: str) -> None:
    [unknown, unknown_push] = run(ask(shop), [["push", shop, {}]], key="no-such-key")
    [may_not_ask] = run(ask(shop), key=server.keys["push"])
    for refused in (unknown, unknown_push, may_not_ask):
        assert refused["status"] == 401
        assert [*refused["body"]] == ["errorMessage"]
    query, event, reserved, large, malformed = run(
        ask(shop, ["select", {"n": {"sum": "id"}}], ["filter", {"price": {"above": 1}}]),
        [["push", shop, {"a": {"b.c": 1}, "timestamp": "yesterday"}]],
        [["push", shop, {"tp_a": 1}]],
        [["push", shop, {"a": "x" * 65_536}]],
        [["push", {"shop": {}}]],
    )
    assert query["status"] == event["status"] == 422
    assert [error["field"] for error in query["body"]["errors"]] == ["select.n", "filter.price"]
    assert {error["field"] for error in event["body"]["errors"]} == {"a.b.c", "timestamp"}
    assert [reserved["status"], large["status"], malformed["status"]] == [400, 413, 400]
    assert all("errorMessage" in each["body"] for each in (reserved, large, malformed))
    assert server.count(shop) == len(EVENTS)


def test_a_server_that_does_not_listen_is_a_network_failure(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert run(ask("c"), url=f"http://127.0.0.1:{port}") == [{"status": "NetworkFailure"}]
