"""What every call of DuckDB is wrapped in: one kind of error, and a way to end what takes too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

from .base import QueryTimeoutError, StoppedError, StoreError

_LOOK_AGAIN: Final = 0.05
"""Seconds."""


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn what DuckDB and the disk raise into a StoreError, with its first line for the reason."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise StoreError(f"{what}: it needs more memory than the server may use, or than there is on disk") from error
    except duckdb.Error as error:
        raise StoreError(f"{what}: {str(error).partition(chr(10))[0]}") from error
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror}") from error


@contextmanager
def deadline(cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt ``cursor`` once the time is over. Raises QueryTimeoutError when that ended what it did."""
    ended = time.monotonic() + seconds
    try:
        with _interrupting(cursor, seconds, lambda: time.monotonic() >= ended):
            yield
    except duckdb.InterruptException:
        raise QueryTimeoutError(f"the query was stopped after {seconds:g} seconds: ask for less") from None


@contextmanager
def stoppable(cursor: duckdb.DuckDBPyConnection, stopped: threading.Event) -> Iterator[None]:
    """Interrupt ``cursor`` once ``stopped`` is set. Raises StoppedError when that ended what it did."""
    try:
        with _interrupting(cursor, _LOOK_AGAIN, stopped.is_set):
            yield
    except duckdb.InterruptException:
        raise StoppedError("the export was stopped") from None


@contextmanager
def _interrupting(cursor: duckdb.DuckDBPyConnection, first: float, is_time: Callable[[], bool]) -> Iterator[None]:
    """Interrupt when it is time, again and again: while DuckDB plans, it does not listen.

    ``first``: seconds before it can be time.
    """
    done = threading.Event()

    def watch() -> None:
        wait = first
        while not done.wait(wait):
            if is_time():
                cursor.interrupt()
            wait = _LOOK_AGAIN

    watcher = threading.Thread(target=watch, name="interrupter", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
