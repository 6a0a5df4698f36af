"""What every call of DuckDB is wrapped in: one kind of error, and a way to end what takes too long or too much."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

from .base import QueryTimeoutError, StoppedError, StoreError
from .interrupting import LOOK_AGAIN, interrupting

_OF_THE_SERVER: Final = (duckdb.OperationalError, duckdb.InternalError, duckdb.FatalException)
"""Errors that say nothing of what a client asked for, but may name files."""
_LEAVE_WITHIN: Final = 5.0
"""Seconds."""


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn what DuckDB and the disk raise into a StoreError, with its first line for the reason."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise StoreError(f"{what}: it needs more memory than the server may use, or than there is on disk") from error
    except duckdb.Error as error:
        told = what if isinstance(error, _OF_THE_SERVER) else None
        raise StoreError(f"{what}: {str(error).partition(chr(10))[0]}", told=told) from error
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror}") from error


class Readers:
    """Those who read now. They can be made to leave, as all share one bound of memory with the writer.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reading: set[threading.Event] = set()
        """For each: set when it has to leave."""

    @contextmanager
    def reading(self, cursor: duckdb.DuckDBPyConnection, seconds: float, stopped: threading.Event) -> Iterator[None]:
        """Interrupt ``cursor`` once the time is over, ``stopped`` is set, or the reader has to leave.

        Raises QueryTimeoutError, StoppedError or StoreError when that ended what it did.
        """
        ended = time.monotonic() + seconds
        evicted = threading.Event()
        with self._changed:
            self._reading.add(evicted)
        try:
            with interrupting(
                cursor.interrupt,
                min(seconds, LOOK_AGAIN),
                lambda: stopped.is_set() or evicted.is_set() or time.monotonic() >= ended,
            ):
                yield
        except duckdb.InterruptException:
            if stopped.is_set():
                raise StoppedError("the query was stopped") from None
            if evicted.is_set():
                raise StoreError("the query was stopped, as events needed its memory: ask for less") from None
            raise QueryTimeoutError(f"the query was stopped after {seconds:g} seconds: ask for less") from None
        finally:
            with self._changed:
                self._reading.discard(evicted)
                self._changed.notify_all()

    def evict(self) -> None:
        """Make all leave who read now; returns when they have, or at the latest after some seconds."""
        with self._changed:
            leaving = set(self._reading)
            for evicted in leaving:
                evicted.set()
            self._changed.wait_for(lambda: not leaving & self._reading, _LEAVE_WITHIN)


_NO_MEMORY: Final = (
    "could not allocate block",
    "failed to allocate data",
    "failed to offload data",
    "failed to pin block",
    "failed to reserve memory",
)
"""In what DuckDB's buffers say where there is no memory left, also of a commit, which has another kind of error."""


def ran_out_of_memory(error: StoreError) -> bool:
    """Whether what a store could not do needed more memory than was left."""
    cause = error.__cause__
    return isinstance(cause, duckdb.OutOfMemoryException) or any(words in str(cause) for words in _NO_MEMORY)


@contextmanager
def stoppable(cursor: duckdb.DuckDBPyConnection, stopped: threading.Event) -> Iterator[None]:
    """Interrupt ``cursor`` once ``stopped`` is set. Raises StoppedError when that ended what it did."""
    try:
        with interrupting(cursor.interrupt, LOOK_AGAIN, stopped.is_set):
            yield
    except duckdb.InterruptException:
        raise StoppedError("the export was stopped") from None
