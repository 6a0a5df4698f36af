"""A way to end what takes too long, is not wanted any more, or has to make room."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOOK_AGAIN: Final = 0.05
"""Seconds."""


@contextmanager
def interrupting(interrupt: Callable[[], object], first: float, is_time: Callable[[], bool]) -> Iterator[None]:
    """Call ``interrupt``, on a thread, when it is time, again and again: while a database plans, it does not listen.

    ``first``: seconds before it can be time. Once the block has ended, ``interrupt`` is not called any more.
    """
    done = threading.Event()

    def watch() -> None:
        wait = first
        while not done.wait(wait):
            if is_time():
                interrupt()
            wait = LOOK_AGAIN

    watcher = threading.Thread(target=watch, name="interrupter", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
