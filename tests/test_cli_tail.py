"""``connect-logging tail``: the latest events and those that come, each once."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import pytest
from commands import PROGRAM, done, refused, run, set_variables
from conftest import Serve
from server_process import ServerProcess

from connect_logging.cli_tail import OVERLAP, Window

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, server: ServerProcess) -> None:
    set_variables(monkeypatch, server, "query")


def numbers(text: str) -> list[int]:
    return [json.loads(line)["n"] for line in text.splitlines()]


@contextmanager
def following(*arguments: str) -> Iterator[IO[str]]:
    """A tail that is ended by Ctrl-C."""
    command = [PROGRAM, "tail", "-f", *arguments, "--every", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


def read(output: IO[str], count: int) -> list[int]:
    return [json.loads(output.readline())["n"] for _ in range(count)]


def test_the_latest_events_are_shown_in_their_order(server: ServerProcess) -> None:
    ago = [timedelta(days=30 * 365), timedelta(days=400), timedelta(hours=3), timedelta(minutes=3), timedelta(0)]
    times = [(datetime.now(UTC) - each).isoformat() for each in ago]
    server.push("latest", *({"n": n, "timestamp": time} for n, time in enumerate(times)))
    assert numbers(done("tail", "latest")) == [0, 1, 2, 3, 4]
    for lines in range(5):
        assert numbers(done("tail", "latest", "-n", lines)) == [0, 1, 2, 3, 4][5 - lines :]
    assert numbers(done("tail", "latest", "--where", "n=lt:3", "-n", 2)) == [1, 2]
    assert done("tail", "absent") == ""
    assert "--where" in refused("tail", "latest", "--where", "n=gt:true")


def test_nothing_that_a_terminal_obeys_is_shown(server: ServerProcess) -> None:
    text = "\x1b[31m\x7f\x9b\u202eü\U000e0001"
    server.push("hostile", {"text": text})
    shown = done("tail", "hostile")
    assert shown.removesuffix("\n").isprintable()
    assert "ü" in shown
    assert json.loads(shown)["text"] == text


def test_what_comes_is_shown_once_also_when_it_is_late_or_of_the_future(server: ServerProcess) -> None:
    now = datetime.now(UTC)
    server.push("live", {"n": 0}, {"n": 1})
    with following("live", "-n", "1") as output:
        assert read(output, 1) == [1]
        for n, shift in ((2, 0), (3, -50), (4, 3600), (5, 0), (6, -40)):
            server.push("live", {"n": n, "timestamp": (now + timedelta(seconds=shift)).isoformat()})
            assert read(output, 1) == [n]


def test_an_outage_is_waited_for_and_a_key_that_is_taken_back_ends_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    set_variables(monkeypatch, server)
    server.push("c", {"n": 0})
    command = [PROGRAM, "tail", "-f", "c", "--every", "0.05", "--timeout", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert read(process.stdout, 1) == [0]
        server.kill()
        assert "still trying" in process.stderr.readline()
        server.restart()
        server.push("c", {"n": 1})
        assert read(process.stdout, 1) == [1]
        done("project", "reset-keys", "--data", server.data, "--yes")
        assert process.wait() == 2
        assert "401" in process.stderr.read()


def event(event_id: Any, seconds: float) -> dict[str, Any]:
    return {"id": event_id, "timestamp": (NOW + timedelta(seconds=seconds)).isoformat()}


def test_a_window_begins_before_the_newest_event_but_not_in_the_future() -> None:
    window = Window(NOW, most=10)
    assert window.start(NOW + timedelta(days=1)) == NOW - OVERLAP, "nothing was seen: from where it began"
    assert window.is_new(event(1, -3600))
    assert window.start(NOW) == NOW - timedelta(hours=1) - OVERLAP
    assert window.is_new(event(2, 3600))
    assert window.start(NOW) == NOW - OVERLAP
    assert not window.is_new(event(2, 3600))


def test_a_clock_that_is_set_back_does_not_bring_what_is_older() -> None:
    window = Window(NOW, most=10)
    assert window.is_new(event(1, 0))
    for now in (NOW, NOW - timedelta(hours=1), datetime(1970, 1, 2, tzinfo=UTC), NOW + timedelta(days=1)):
        assert window.start(now) == NOW - OVERLAP
        assert not window.is_new(event(2, -61))
    assert window.is_new(event(3, 1))
    assert not window.is_new(event(1, 0))


def test_a_clock_that_is_behind_what_was_shown_is_told_of_once(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.push("ahead", {"n": 1, "timestamp": NOW.isoformat()})
    hours = iter((0, 0, 0, -1, -1, 1))

    class Clock(datetime):
        @classmethod
        def now(cls, _zone: Any = None) -> datetime:
            if (hour := next(hours, None)) is None:
                raise KeyboardInterrupt
            return NOW + timedelta(hours=hour)

    monkeypatch.setattr("connect_logging.cli_tail.datetime", Clock)
    result = run("tail", "-f", "ahead", "--every", "0.01")
    assert numbers(result.stdout) == [1]
    assert result.stderr.startswith("the clock was set back: until it is 2026-02-28T23:59:00Z only later events")
    assert result.stderr.count("the clock") == 1


def test_an_id_is_known_while_its_event_is_within_the_window() -> None:
    window = Window(NOW, most=10)
    assert [window.is_new(event(each, 0)) for each in (1, "1", 1)] == [True, True, False]


def test_a_window_is_bounded_and_shows_nothing_twice() -> None:
    window = Window(NOW, most=10)
    shown = [n for _ in range(3) for n in range(1_000) if window.is_new(event(n, n / 1_000))]
    assert shown == [*range(1_000)]
    assert len(window._seen) <= 20
    start = window.start(NOW + timedelta(hours=1))
    assert NOW < start < NOW + timedelta(seconds=1), "shorter than the overlap"


def test_events_of_the_first_year_are_no_trouble() -> None:
    window = Window(NOW, most=10)
    assert window.is_new({"id": 1, "timestamp": "0001-01-01T00:00:00Z"})
    assert window.start(NOW).year == 1


@pytest.mark.parametrize("seconds", ["nan", "inf"])
@pytest.mark.parametrize("option", ["--every", "--timeout"])
def test_seconds_are_a_finite_number(option: str, seconds: str) -> None:
    assert f"'{option}'" in refused("tail", "things", option, seconds)
