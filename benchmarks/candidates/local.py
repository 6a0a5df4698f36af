"""Handlers that send nothing: the reference, what the standard library has, and files."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sqlite3
from typing import Any

import msgspec

from . import Opened, Target


def null(_: Target) -> Opened:
    """What ``logging`` itself costs."""
    return _closing(logging.NullHandler())


def queued(_: Target) -> Opened:
    """Nobody reads the queue: the call alone."""
    return _closing(logging.handlers.QueueHandler(queue.Queue(-1)))


def encode(_: Target) -> Opened:
    """The least that a snapshot costs."""
    return _closing(_Encode())


def file(target: Target) -> Opened:
    """One flushed write per record."""
    handler = logging.FileHandler(target.directory / "events.jsonl")
    handler.setFormatter(_Lines())
    return _closing(handler)


def concurrent_file(target: Target) -> Opened:
    """As :func:`file`, with a lock that processes share."""
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    handler = ConcurrentRotatingFileHandler(str(target.directory / "events.jsonl"))
    handler.setFormatter(_Lines())
    return _closing(handler)


def sqlite(target: Target) -> Opened:
    """Survives what our journal survives."""
    return _closing(_Table(str(target.directory / "events.db")))


def _closing(handler: logging.Handler) -> Opened:
    return Opened(handler, lambda _: handler.close())


class _Encode(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._encode = msgspec.json.Encoder().encode

    def createLock(self) -> None:
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        self._encode(record.__dict__["event"])
        return True


class _Lines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._encode = msgspec.json.Encoder().encode

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, Any] = record.__dict__
        line = {"collection": values["collection"], "created": record.created, "event": values["event"]}
        return self._encode(line).decode()


class _Table(logging.Handler):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._encode = msgspec.json.Encoder().encode
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute("CREATE TABLE events (collection TEXT, created REAL, event BLOB)")

    def emit(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        row = (values["collection"], record.created, self._encode(values["event"]))
        self._database.execute("INSERT INTO events VALUES (?, ?, ?)", row)

    def close(self) -> None:
        self._database.close()
        super().close()
