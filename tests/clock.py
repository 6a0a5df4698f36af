"""A clock for tests."""

from __future__ import annotations


class Clock:
    """Seconds that go by when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now
