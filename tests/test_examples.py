"""The examples run: the shop's events arrive, and the demo tells the truth from what is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from conftest import Serve
from rich.console import Console
from server_process import ServerProcess

ROOT = Path(__file__).parent.parent
DEMO = [sys.executable, "-m", "connect_logging.cli", "demo"]
STRICT = {**os.environ, "PYTHONWARNINGS": "error"}


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of examples/demo."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from demo import processes, questions, report, traffic

    return SimpleNamespace(processes=processes, questions=questions, report=report, traffic=traffic)


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def project(server: ServerProcess) -> dict[str, str]:
    return {"projectId": server.project_id, "query": server.keys["query"]}


def open_shop(demo: Any, cleanup: ExitStack, server: ServerProcess, directory: Path) -> tuple[Any, str]:
    environ = {
        "CONNECT_BASE_URL": server.url,
        "CONNECT_PROJECT_ID": server.project_id,
        "CONNECT_API_KEY": server.keys["push"],
        "PYTHONWARNINGS": "error",
    }
    shop = cleanup.enter_context(demo.processes.start_shop(directory, environ))
    return shop, shop.address()


def test_what_happens_in_the_shop_arrives(demo: Any, cleanup: ExitStack, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    shop, url = open_shop(demo, cleanup, server, tmp_path)
    order = {"product": "bell", "quantity": 2, "customer": {"firstName": "Zoë", "country": "AU"}}
    assert requests.get(f"{url}/products", timeout=10).json()["bell"] == 7.25
    assert requests.get(f"{url}/products/unicycle", timeout=10).status_code == 404
    assert requests.post(f"{url}/purchases", json=order, timeout=10).json() == {"product": "Bell", "total": 14.5}
    for wrong in ([], {"product": "unicycle"}, {"product": "bell", "quantity": "many", "customer": {}}):
        assert requests.post(f"{url}/purchases", json=wrong, timeout=10).status_code == 422
    shop.stop()
    assert demo.processes.read_stats(shop)["delivered"] == 7
    by = ["customer.firstName", "product.category", "quantity", "shop"]
    [sold] = server.query("purchases", {"select": {"total": {"sum": "total"}}, "groupBy": by})
    assert sold == dict(zip(by, ["Zoë", "parts", 2, "Bicycles & Bells"], strict=True)) | {"total": 14.5}
    seen = server.query("access", {"select": {"n": "count"}, "groupBy": ["method", "path", "status"]})
    assert [tuple(row.values()) for row in seen] == [
        ("GET", "/products", 200, 1),
        ("GET", "/products/unicycle", 404, 1),
        ("POST", "/purchases", 201, 1),
        ("POST", "/purchases", 422, 3),
    ]


def test_the_comparison_notices_a_unit(demo: Any, cleanup: ExitStack, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    shop, url = open_shop(demo, cleanup, server, tmp_path)
    customers = demo.traffic.Customers(url, 60, threads=2)
    cleanup.callback(customers.stop)
    customers.start()
    assert customers.wait_for(60, timeout=30)
    shop.stop()
    truth = customers.truth
    stats = demo.processes.read_stats(shop)

    def compare() -> int:
        result: int = demo.report.compare(Console(quiet=True), server.url, project(server), truth, stats)
        return result

    assert compare() == 0
    product = next(iter(truth.orders))
    for counted, key, unit in (
        (truth.statuses, 200, 1),
        (truth.orders, product, -1),
        (truth.units, product, 1),
        (truth.revenue, product, 0.25),
        (truth.orders, "Unicycle", 1),
    ):
        counted[key] += unit
        assert compare() == 1
        counted[key] -= unit
        if not counted[key]:
            del counted[key]
    truth.durations["/products"][0] += 0.001
    assert compare() == 1


def test_differences_are_named(demo: Any) -> None:
    question = replace(demo.questions.QUESTIONS[2], columns={"requests": ",", "average": ",.2f"})
    assert demo.questions.differences(question, {"/a": (1, 0.1 + 0.2)}, {"/a": (1, 0.3)}) == []
    assert demo.questions.differences(question, {"/a": (1, 0.3), "/b": (1, 1.0)}, {"/a": (2, 0.3), "/c": (1, 1.0)}) == [
        "Slowest paths, in milliseconds: /a, requests: 1 instead of 2",
        "Slowest paths, in milliseconds: /b is only in the answer",
        "Slowest paths, in milliseconds: /c is only in the truth",
    ]


def test_a_lost_event_is_noticed(demo: Any, serve: Serve) -> None:
    """The whole verdict, over a server that has one event less than was counted."""
    server = serve()
    server.push("access", {"path": "/a", "status": 200, "duration": 1.5})
    truth = demo.traffic.Truth()
    truth.statuses[200] = 2
    truth.durations["/a"] += [1.5, 1.5]
    console = Console(record=True, quiet=True, width=100)
    assert demo.report.compare(console, server.url, project(server), truth, {"dropped": {"closed": 1}}) == 1


def test_the_demo_runs(tmp_path: Path) -> None:
    environ = {**STRICT, "TMPDIR": str(tmp_path)}
    done = subprocess.run([*DEMO, "--requests", "300"], env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for told in ("was killed", "is back", "Revenue by product", "Slowest paths", "Equal."):
        assert told in done.stdout
    assert [*tmp_path.iterdir()] == []


def test_the_demo_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    environ = {**STRICT, "TMPDIR": str(tmp_path)}
    done = subprocess.run([*DEMO, "--requests", "1", "--keep"], env=environ, capture_output=True, text=True)
    [kept] = tmp_path.iterdir()
    assert done.returncode == 0
    assert str(kept) in done.stdout
    assert {each.name for each in kept.iterdir()} == {"data", "server.log", "shop.log"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    demo = subprocess.Popen(
        [*DEMO, "--requests", "100000"],
        env={**STRICT, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    assert demo.stdout is not None
    with demo.stdout as output:
        assert any("The shop is at" in line for line in output)
        demo.send_signal(number)
        rest = output.read()
    assert rest == "\nStopped.\n"
    assert demo.wait(30) == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
    assert [*tmp_path.iterdir()] == []


def test_a_server_that_does_not_start_is_told(demo: Any, cleanup: ExitStack, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    second = cleanup.enter_context(demo.processes.start_server(tmp_path / "other", server.port))
    with pytest.raises(demo.processes.DemoError, match=r"the server did not start:\n.*cannot listen on"):
        second.address()


def test_a_shop_that_fails_a_customer_ends_the_demo(demo: Any, cleanup: ExitStack) -> None:
    customers = demo.traffic.Customers("http://127.0.0.1:9", 10, threads=1)
    cleanup.callback(customers.stop)
    customers.start()
    with pytest.raises(demo.processes.DemoError, match="the shop failed a customer: ConnectionError"):
        customers.wait_for(1, timeout=30)


def test_a_wheel_says_where_the_demo_is(tmp_path: Path) -> None:
    (tmp_path / "connect_logging").symlink_to(ROOT / "connect_logging")
    code = "import sys; sys.argv = ['connect-logging', 'demo']; from connect_logging.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**STRICT, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert (
        done.stderr == "Error: the demo comes with the source code, not with the package: run 'make demo' in a clone\n"
    )


def test_the_demo_without_the_server_extra_says_what_to_install(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["uvicorn"] = None
sys.argv = ["connect-logging", "demo"]
from connect_logging.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], env=STRICT, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'connect-logging[server]'" in done.stderr
    assert "Traceback" not in done.stderr
