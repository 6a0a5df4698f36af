"""The plugin that users of pytest get."""

from __future__ import annotations

import re
import socket
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pushing import logger_with

from connect_logging import ConnectClient, ConnectHandler, InvalidEventError, MissingExtraError, testing
from connect_logging.server.in_process import InProcess, running
from connect_logging.testing import CapturedEvents, TestProject, serving


def test_what_a_handler_logs_is_captured_at_once(connect_events: CapturedEvents) -> None:
    threads = threading.active_count()
    with logger_with(ConnectHandler()) as log:
        log.info("paid", extra={"collection": "purchases", "price": 34.95, "customer": {"country": "AU"}})
        log.info("no event")
    [event] = connect_events
    assert (event["price"], len(connect_events)) == (34.95, 1)
    assert {"id", "timestamp"} <= event.keys()
    assert connect_events.assert_logged("purchases", {"customer.country": "AU"}, price=34.95) == [event]
    assert threading.active_count() == threads, "nothing is sent"


def test_what_a_client_pushes_is_captured_and_a_success(connect_events: CapturedEvents) -> None:
    with ConnectClient() as client:
        assert client.push_event("activity", {"type": "cycling"}).result(0).success
        assert client.push_events({"activity": [{"n": 1}, {"n": 2}], "other": [{}]}).result(0).success
        assert client.import_events([{"n": 3}], "activity").imported_events == 1
        assert isinstance(client.push_event("activity", {"a.b": 1}).exception(0), InvalidEventError)
    assert [event.get("n") for event in connect_events.of("activity")] == [None, 1, 2, 3]


def test_a_handler_from_before_the_test_is_captured_too(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with logger_with(ConnectHandler("p", "k", "http://127.0.0.1:9", spool=tmp_path, exit_timeout=0)) as log:
        log.error("before", extra={"collection": "a", "n": 0})
        captured: CapturedEvents = request.getfixturevalue("connect_events")
        log.error("during", extra={"collection": "a", "n": 1})
        assert [event["n"] for event in captured] == [1]
        assert not log.handlers[0].flush(0.2), "what is in the spool is not sent in a test"  # type: ignore[call-arg, func-returns-value]
        log.handlers[0].close()


def test_what_breaks_the_rules_is_refused(connect_events: CapturedEvents) -> None:
    with logger_with(ConnectHandler()) as log:
        log.info("paid", extra={"collection": "purchases", "event": {"customer.country": "AU"}})
    assert len(connect_events) == 0
    [refused] = connect_events.refused
    assert refused.collection == "purchases"
    assert "dot" in refused.reason
    with pytest.raises(AssertionError, match=r"there are 0:\n  refused: invalid event: customer.country"):
        connect_events.assert_logged("purchases")
    connect_events.clear()
    assert connect_events.refused == []


@pytest.fixture
def captured(connect_events: CapturedEvents) -> CapturedEvents:
    with logger_with(ConnectHandler()) as log:
        for n in range(7):
            log.info("", extra={"collection": "a", "event": {"n": n, "x": {"y": None, "z": [1]}}})
    return connect_events


def test_an_assertion_that_holds_returns_the_events(captured: CapturedEvents) -> None:
    assert len(captured.assert_logged("a")) == 7
    assert [event["n"] for event in captured.assert_logged("a", n=pytest.approx(3.0000001))] == [3]
    assert captured.assert_logged("a", {"x.y": None, "x.z": [1]}, n=1)[0]["n"] == 1
    captured.assert_not_logged("a", n=7)
    captured.assert_not_logged("a", {"x.w": None})
    captured.assert_not_logged("a", {"n.y": None})
    captured.assert_not_logged("b")
    captured.clear()
    captured.assert_not_logged("a")


def test_an_assertion_that_fails_says_what_there_is(captured: CapturedEvents) -> None:
    with pytest.raises(AssertionError) as caught:
        captured.assert_logged("a", {"x.y": "z"}, n=9)
    first, *lines = str(caught.value).splitlines()
    assert first == "no event of 'a' has x.y='z', n=9; there are 7:"
    assert "'n': 0" in lines[0]
    assert lines[-1] == "  … and 2 more"
    with pytest.raises(AssertionError, match=r"^no event of 'b' has any properties; there are 0$"):
        captured.assert_logged("b")
    with pytest.raises(AssertionError, match=r"^1 events of 'a' have n=3: {"):
        captured.assert_not_logged("a", n=3)


def test_a_project_is_new_and_named_by_the_environment(connect_project: TestProject) -> None:
    with logger_with(ConnectHandler()) as log:
        log.info("paid", extra={"collection": "purchases", "id": "1"})
        assert log.handlers[0].flush(10)  # type: ignore[call-arg, func-returns-value]
        log.handlers[0].close()
    with ConnectClient() as client:
        assert client.push_event("purchases", {"id": "1"}).result(10).success
    with connect_project.client() as master:
        assert [(each.name, each.events) for each in master.collections()] == [("purchases", 1)]
    assert connect_project.client(api_key=connect_project.query).collections()
    assert not connect_project.client(api_key=connect_project.query).push_event("a", {}).result(10).success
    assert connect_project.master not in repr(connect_project)


def test_projects_know_nothing_of_each_other(connect_project: TestProject, connect_server: InProcess) -> None:
    assert connect_project.client().collections() == []
    assert connect_server.url == connect_project.base_url


def test_the_server_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with running(tmp_path / "data") as server:
        project = server.projects.create()
        with ConnectClient(project.id, project.keys.master, server.url) as client:
            assert client.push_event("a", {"id": 1}).result(10).success
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()
    with running(tmp_path / "data") as server, ConnectClient(project.id, project.keys.master, server.url) as client:
        assert [each.events for each in client.collections()] == [1]


def test_what_is_no_http_is_refused_as_by_any_server(connect_server: InProcess) -> None:
    address = urlsplit(connect_server.url)
    with socket.create_connection((address.hostname, address.port), timeout=9) as raw:
        raw.sendall(b"no HTTP\r\n\r\n")
        assert b'{"errorMessage":' in raw.makefile("rb").read()


def test_without_the_server_a_project_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in "in_process", "http_server":
        monkeypatch.delitem(sys.modules, f"connect_logging.server.{module}")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"connect_project needs uvicorn: pip install '.*\[server\]'"):
        serving(tmp_path)


def test_pytest_finds_the_plugin() -> None:
    [plugin] = entry_points(group="pytest11", name="connect_logging")
    assert plugin.load() is testing


def test_the_examples_of_the_page_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "testing.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    assert examples
    for number, example in enumerate(examples):
        pytester.makepyfile(**{f"test_example_{number}": example})
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-W", "error", "-p", "connect_logging.testing")
    result.assert_outcomes(passed=sum(example.count("def test_") for example in examples))
