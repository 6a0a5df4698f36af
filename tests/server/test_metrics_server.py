"""Metrics at an address of their own, which takes little of the process, whoever connects to it."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

import pytest
import requests
from prometheus_client import CollectorRegistry, Counter

from connect_logging.server import metrics_server
from connect_logging.server.metrics_server import MAX_CONNECTIONS, serving


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("connect_tries", "Tries.", registry=made)
    return made


def test_they_are_answered_at_every_path_and_in_both_formats(registry: CollectorRegistry) -> None:
    with serving(registry, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert "connect_tries_total 0.0" in requests.get(url, timeout=9).text
        answer = requests.get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"}, timeout=9)
    assert answer.text.endswith("# EOF\n")


def test_who_connects_and_says_nothing_is_one_of_a_few_and_not_for_long(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics_server._Handler, "timeout", 2.0)
    before = threading.active_count()
    with serving(registry, "127.0.0.1", 0) as listener, ExitStack() as opened:
        address = listener.getsockname()
        silent = [opened.enter_context(socket.create_connection(address, 20)) for _ in range(MAX_CONNECTIONS)]
        for _ in range(3):
            beyond = opened.enter_context(socket.create_connection(address, 20))
            assert beyond.recv(1) == b""
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{address[1]}/metrics", timeout=9)
        assert threading.active_count() <= before + 1 + MAX_CONNECTIONS
        assert [each.recv(1) for each in silent] == [b""] * MAX_CONNECTIONS
        while True:  # the last thread may not have ended when its client is told
            try:
                answer = requests.get(f"http://127.0.0.1:{address[1]}/metrics", timeout=9)
                break
            except requests.ConnectionError:
                continue
        assert answer.status_code == 200
    assert capfd.readouterr().err == ""
