"""The original Python SDK, connect-client 0.1.1 of PyPI, pushes to the server.

It is installed without its dependencies: two of them no longer build, and pushing needs neither. Skipped, with the
reason, where it cannot be had. Its warnings stay in its own process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from packages import installed
from server_process import ServerProcess

PACKAGE: Final = "connect-client==0.1.1"
PUSHES: Final = """
import datetime, json, sys
from connect.client import ConnectClient

options, steps = json.load(sys.stdin)
client = ConnectClient(**options)
answers = []
for method, arguments in steps:
    if method == "push_event":
        arguments[1]["timestamp"] = datetime.datetime(2026, 3, 1, 9, 30)
    answers.append(getattr(client, method)(*arguments).result(30))
json.dump(answers, sys.stdout, default=lambda value: getattr(value, "__dict__", None) or str(value))
"""


@pytest.fixture(scope="module")
def package() -> Path:
    """The directory with the package in it."""
    options = ["--quiet", "--no-deps", "--retries=0", "--target=package"]
    return installed(PACKAGE, [sys.executable, "-m", "pip", "install", *options, PACKAGE], "package")


def push(package: Path, server: ServerProcess, *steps: Any, key: str = "push") -> list[Any]:
    """What each push came to: its response's attributes."""
    options = {"project_id": server.project_id, "api_key": server.keys.get(key, key), "base_url": server.url}
    done = subprocess.run(
        [sys.executable, "-c", PUSHES],
        input=json.dumps([options, steps]),
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(package)},
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def test_it_pushes_alone_and_in_batches(package: Path, server: ServerProcess) -> None:
    event = {"id": 1, "price": 2.5, "buyer": {"city": "Perth"}}
    single, again, batch = push(
        package,
        server,
        ["push_event", ["alone", event]],
        ["push_event", ["alone", event]],
        ["push_events", [{"batch": [{"id": "a"}, {"id": "a"}, {"n": 1}], "other": [{}]}]],
    )
    for each in (single, again):
        assert (each["success"], each["http_status_code"], each["error_message"]) == (True, 200, None)
    assert (batch["success"], batch["http_status_code"], batch["error_message"]) == (True, 200, None)
    assert {name: [each["success"] for each in results] for name, results in batch["results"].items()} == {
        "batch": [True, True, True],
        "other": [True],
    }
    assert [server.count(name) for name in ("alone", "batch", "other")] == [1, 2, 1]
    timeframe = {"start": "2026-03-01T09:30:00Z", "end": "2026-03-01T09:30:01Z"}
    assert server.query("alone", {"groupBy": "buyer.city", "timeframe": timeframe}) == [
        {"buyer.city": "Perth", "_count": 1}
    ]


def test_it_understands_the_errors(package: Path, server: ServerProcess) -> None:
    [unauthorized] = push(package, server, ["push_event", ["c", {}]], key="no-such-key")
    assert (unauthorized["success"], unauthorized["http_status_code"]) == (False, 401)
    refused, batch = push(
        package, server, ["push_event", ["c", {"id": True}]], ["push_events", [{"c": [{"id": True}, {}], "": [{}]}]]
    )
    assert (refused["success"], refused["http_status_code"]) == (False, 422)
    assert refused["error_message"][0]["field"] == "id"
    assert [each["success"] for each in batch["results"]["c"]] == [False, True]
    assert [each["success"] for each in batch["results"][""]] == [False]
