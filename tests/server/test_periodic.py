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


def test_it_is_called_now_and_then_when_it_is_time() -> None:
    seldom, often = [0], [0]
    done = threading.Event()

    def run_often() -> None:
        often[0] += 1
        if often[0] == 20:
            done.set()

    def run_seldom() -> None:
        seldom[0] += 1

    with closing(Periodic("seldom", 3_600, run_seldom)), closing(Periodic("often", 0.001, run_often)):
        assert done.wait(9)
    assert seldom == [1]
