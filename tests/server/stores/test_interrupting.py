"""What takes too long is interrupted until it has ended, and nothing afterwards."""

from __future__ import annotations

import threading

import pytest

from connect_logging.server.stores.interrupting import interrupting


def test_it_is_interrupted_again_and_again_once_it_is_time() -> None:
    is_time, calls, enough = threading.Event(), [0], threading.Event()

    def interrupt() -> None:
        calls[0] += 1
        if calls[0] == 3:
            enough.set()

    with interrupting(interrupt, 0.001, is_time.is_set):
        assert not enough.wait(0.12)
        assert calls == [0]
        is_time.set()
        assert enough.wait(10)


def test_what_has_ended_is_not_interrupted_any_more() -> None:
    calls = [0]

    def interrupt() -> None:
        calls[0] += 1

    with pytest.raises(ValueError, match="ended"), interrupting(interrupt, 60, lambda: True):
        raise ValueError("ended")
    assert calls == [0]
    assert "interrupter" not in {thread.name for thread in threading.enumerate()}
