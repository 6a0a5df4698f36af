"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from clickhouse_process import FacadeProcess
from hypothesis import HealthCheck, settings
from server.clickhouse_database import fresh_database, in_process
from server_process import ServerProcess
from xdist import is_xdist_controller

from connect_logging.server.stores.clickhouse_address import ClickHouseAddress

pytest_plugins = ["pushing", "pytester"]

pytest.register_assert_rewrite("commands")

# The first text that is made in a fresh clone takes seconds: Hypothesis makes its table of Unicode for it. And
# on a busy machine a case may take longer than it is given.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

REPEATING = (
    "tests/conformance/",
    "tests/faults/",
    "tests/journal/test_recovery.py::test_row_17",
    "tests/journal/test_spool.py::test_a_put_within_a_put",
    "tests/journal/test_spool.py::test_a_put_within_anything_else",
    "tests/server/test_schemathesis.py",
    "tests/server/test_tenancy.py",
    "tests/test_docs.py",
    "tests/test_examples.py",
    "tests/test_layers.py",
    "tests/test_rules.py::test_the_memory_of_names",
    "tests/test_security.py::test_no_key_of_ours_can_be_forged",
    "tests/test_shapes.py::test_what_is_hostile",
)
"""Whose tests run the same lines again and again, or other processes."""


def pytest_configure() -> None:
    """Let tests send SIGINT: what a shell starts in the background ignores it, as then do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["XDG_CONFIG_HOME"] = "/nonexistent"  # profiles of whoever runs the tests are not for them


def pytest_sessionstart(session: pytest.Session) -> None:
    """Measure coverage in the processes that run tests, not in those that tests start.

    It takes time there, a fork may copy its lock while it is held, and calls that are made to fail would be its own.
    """
    if not is_xdist_controller(session):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Leave coverage out where the same lines run thousands of times: it would double the time and see nothing new."""
    if not _repeats_itself(item):
        return (yield)
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    try:
        return (yield)
    finally:
        threading.settrace(in_threads)
        sys.settrace(here)


def _repeats_itself(item: pytest.Item) -> bool:
    return item.get_closest_marker("hypothesis") is not None or item.nodeid.startswith(REPEATING)


class Serve(Protocol):
    """Starts a server; without arguments on a free port and a new data directory."""

    def __call__(self, name: str = "data", **options: Any) -> ServerProcess: ...


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A factory of real servers, each stopped at the end of the test. ``name`` is that of its data directory."""
    started: list[ServerProcess] = []

    def start(name: str = "data", **options: Any) -> ServerProcess:
        started.append(ServerProcess(tmp_path / name, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One real server for all tests of a module: give each test collections of its own."""
    running = ServerProcess(tmp_path_factory.mktemp("server") / "data")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def engine_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ClickHouse's engine keeps everything in this process."""
    return tmp_path_factory.mktemp("clickhouse")


@pytest.fixture(scope="session")
def clickhouse_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FacadeProcess]:
    """ClickHouse's engine in a process of its own, over HTTP: give each test a database or a collection of its own."""
    with FacadeProcess(tmp_path_factory.mktemp("clickhouse") / "data") as running:
        yield running


@pytest.fixture
def clickhouse_address(engine_directory: Path) -> Iterator[ClickHouseAddress]:
    """A database of ClickHouse for one test."""
    with fresh_database(in_process(engine_directory)) as address:
        yield address
