"""What is done again and again goes on after a failure, and ends when it is told to."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from connect_logging.exceptions import ConnectError
from connect_logging.server.periodic import Periodic


def test_a_failure_is_told_once_until_it_has_succeeded_again(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = iter([None, "away", "still away", None, "away again", None])
    done = threading.Event()

    def run() -> None:
        match next(outcomes, "end"):
            case "end":
                done.set()
            case None:
                pass
            case reason:
                raise ConnectError(reason)

    with closing(Periodic("work", 0.001, run)):
        assert done.wait(9)
    assert [record.getMessage() for record in caplog.records] == ["work: away", "work: away again"]


def test_after_it_is_closed_nothing_runs() -> None:
    began, go, ended = threading.Event(), threading.Event(), threading.Event()

    def run() -> None:
        began.set()
        go.wait(9)
        assert not ended.is_set()

    periodic = Periodic("work", 0.001, run)
    assert began.wait(9)
    threading.Timer(0.01, go.set).start()
    periodic.close()
    ended.set()
    assert go.is_set()
    periodic.close()
