"""What every call of DuckDB is wrapped in: one kind of error, and a way to end what takes too long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

from .base import QueryTimeoutError, StoreError

_INTERRUPT_AGAIN: Final = 0.05
"""Seconds."""


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn what DuckDB raises into a StoreError, with its first line for the reason."""
    try:
        yield
    except duckdb.Error as error:
        raise StoreError(f"{what}: {str(error).partition(chr(10))[0]}") from error


@contextmanager
def deadline(cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt ``cursor`` once the time is over, again and again: while it plans, it does not listen.

    Raises QueryTimeoutError when that ended what it did.
    """
    done = threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            cursor.interrupt()
            wait = _INTERRUPT_AGAIN

    watcher = threading.Thread(target=watch, name="query-deadline", daemon=True)
    watcher.start()
    try:
        yield
    except duckdb.InterruptException:
        raise QueryTimeoutError(f"the query was stopped after {seconds:g} seconds: ask for less") from None
    finally:
        done.set()
        watcher.join()
