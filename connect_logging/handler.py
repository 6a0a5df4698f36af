"""The logging handler: a record that names a collection becomes an event and is on its way.

Invariants, beyond those of the pusher behind it:

* ``emit`` never raises, never logs, never does I/O; an event that breaks the rules becomes a dead letter.
* It takes a snapshot: the record and its ``extra`` may change after the log call.
* What the sending itself logs (urllib3, requests, this package) is never sent.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import get_ident, main_thread
from typing import Any, Final, Never

from ._dead_letter import DeadLetterLog, shown
from ._durability import BufferOptions
from ._mapping import LEVEL_LOGGER_MESSAGE, EventFormatter, own_properties
from ._notices import Notices, OnDrop
from ._pusher import Pusher
from ._retry import RetryPolicy
from ._settings import Connection, number, refuse_unknown, waiting_time, whole_number
from ._transport import HttpTransport
from ._types import Overflow
from .event import Buffer, EventFactory, Sender
from .exceptions import ConfigurationError, InvalidEventError
from .rules import MAX_BATCH_EVENTS, MAX_NAME_LENGTH, EventRules, collection_violation

_NO_LEVEL: Final = 1_000_000
"""Above all levels."""
SENDERS: Final = ("thread", "process")
_SENDERS: Final = ("urllib3", "requests", "connect_logging")
"""Loggers that speak while events are sent. With ``default_collection`` their records would feed themselves."""


class ConnectHandler(logging.Handler):
    """Sends events to a Connect project. For ``dictConfig``, every option is a key of the handler's dict.

    ``project_id``, ``api_key``, ``base_url``: where to push and as whom; by default the environment's
    ``CONNECT_PROJECT_ID``, ``CONNECT_API_KEY``, ``CONNECT_BASE_URL``.
    ``spool``: a directory in which events lie from the log call until the server has them; several processes may
    share it. ``durability``: what they survive, ``"process"`` (the default with a spool), ``"disk"`` (a power cut, but
    for the last ``loss_window_ms`` milliseconds), or ``"memory"`` (without a spool: nothing).
    ``spool_max_bytes``: what this process may keep there.
    ``default_collection``: where records go that name no collection; without it they are no events. With it, and no
    formatter set, every event also holds ``level``, ``logger`` and ``message``.
    ``flush_interval``: seconds that an event waits for others at most. ``flush_events``, ``flush_bytes``: as many do
    not wait, nor do those that fill half of the buffer. ``flush_level``: a record of this level or above does not
    wait; None: none.
    ``max_events``, ``max_bytes``: what the memory buffer holds. ``overflow``: what it does when it is full,
    ``"drop_oldest"``, ``"drop_newest"``, or ``"block"`` the log call for up to ``block_timeout`` seconds.
    ``timeout``: seconds for the whole of one request. ``exit_timeout``: seconds for a flush or close that is not
    told, as when the process ends.
    ``dead_letters``: the file for events that break the rules or that the server refuses; without it each refusal
    is only counted and warned of. ``on_drop``: called with a reason and a count after events were dropped.
    ``sender``: who sends, a ``"thread"`` of this process, or with a spool a ``"process"`` of its own, which takes less
    from the threads that log.
    ``level``: as for any handler.

    Raises ConfigurationError.
    """

    def __init__(
        self,
        project_id: str | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        spool: str | Path | None = None,
        durability: str | None = None,
        spool_max_bytes: int = 1024**3,
        loss_window_ms: float = 100.0,
        default_collection: str | None = None,
        flush_interval: float = 1.0,
        flush_events: int = MAX_BATCH_EVENTS,
        flush_bytes: int = 1024 * 1024,
        flush_level: int | str | None = logging.ERROR,
        max_events: int = 250_000,
        max_bytes: int = 128 * 1024 * 1024,
        overflow: str = Overflow.DROP_OLDEST,
        block_timeout: float = 1.0,
        timeout: float = 10.0,
        exit_timeout: float = 5.0,
        dead_letters: str | Path | None = None,
        on_drop: OnDrop | None = None,
        sender: str = "thread",
        level: int | str = logging.NOTSET,
        **unknown: Never,
    ) -> None:
        refuse_unknown("ConnectHandler", unknown, [*inspect.signature(ConnectHandler).parameters][:-1])
        connection = Connection.from_options(project_id, api_key, base_url, os.environ)
        if default_collection is not None and (reason := collection_violation(default_collection)):
            raise ConfigurationError(f"default_collection: {reason}")
        if on_drop is not None and not callable(on_drop):
            raise ConfigurationError("on_drop must be callable; in dictConfig write ext://package.module.function")
        self._default_collection = default_collection
        self._flush_level = _NO_LEVEL if flush_level is None else _level("flush_level", flush_level)
        self._draft = EventFactory(EventRules(refused_prefixes=("$",)), time.time).draft
        buffering = BufferOptions(
            spool=spool,
            durability=durability,
            spool_max_bytes=spool_max_bytes,
            loss_window_ms=loss_window_ms,
            max_events=max_events,
            max_bytes=max_bytes,
            overflow=overflow,
            block_timeout=block_timeout,
        )
        dead_letters = buffering.dead_letters(dead_letters)
        notices = Notices(time.monotonic)
        timeout = number("timeout", timeout, least=0.001)
        buffer = buffering.make(notices, time.monotonic)
        self._pusher = Pusher(
            buffer=buffer,
            transport=HttpTransport(connection, timeout, time.monotonic),
            sender=_sender(sender, buffer, connection, timeout, notices.warn),
            retry=RetryPolicy(),
            dead_letters=None if dead_letters is None else DeadLetterLog(dead_letters, time.time),
            triggers=buffering.triggers(
                whole_number("flush_events", flush_events, least=1, most=MAX_BATCH_EVENTS),
                whole_number("flush_bytes", flush_bytes, least=1),
                number("flush_interval", flush_interval, least=0),
            ),
            notices=notices,
            exit_timeout=number("exit_timeout", exit_timeout, least=0),
            clock=time.monotonic,
            on_drop=on_drop,
        )
        if spool is not None:
            self._pusher.start()
        # One that is let go of without close() is unknown to logging.shutdown, but its events still wait.
        self._forgotten = weakref.finalize(self, atexit.register, self._pusher.close_at_exit)
        self._forgotten.atexit = False
        # Last: it makes the handler known to logging.shutdown.
        super().__init__(_level("level", level))
        self.setFormatter(EventFormatter(**LEVEL_LOGGER_MESSAGE) if default_collection else EventFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Send ``record`` on its way if it is an event."""
        collection = record.__dict__.get("collection")
        pusher = self._pusher
        sending = pusher.sending_thread
        if collection is None:
            collection = self._default_collection
            if collection is None or sending == get_ident() or _by_sender(record):
                return
        # Anything else that is logged on the sending thread is a __del__ of the application, say.
        elif sending is not None and sending == get_ident() and _by_sender(record):
            return
        try:
            properties = self._to_properties(record)
        except Exception as error:  # noqa: BLE001 - formatting ran the application's code
            said = {name: record.__dict__.get(name) for name in ("msg", "args")}
            given = {**said, "extra": own_properties(record)}
            self._refuse(collection, given, error, record)
            return
        try:
            event = self._draft(collection, properties, record.created)
        except Exception as error:  # noqa: BLE001 - most of all InvalidEventError; a value may change meanwhile
            self._refuse(collection, properties, error, record)
        else:
            pusher.submit(event, None, record.levelno >= self._flush_level)

    def flush(self, timeout: float | None = None) -> bool:  # type: ignore[override]
        """Send what was logged so far; True when nothing of it is pending, False after ``timeout`` seconds.

        Raises ConfigurationError for a timeout that is no number.
        """
        seconds = waiting_time(timeout, self._pusher.exit_timeout)
        try:
            return self._pusher.flush(seconds)
        except KeyboardInterrupt:
            if main_thread().is_alive():
                raise
            # logging.shutdown would go no further, and nobody would be told of what is lost.
            return self._pusher.close(0.0)

    def close(self) -> None:
        """Flush within ``exit_timeout`` and stop for good. Idempotent; logging.shutdown calls it."""
        self._pusher.close(self._pusher.exit_timeout)
        self._forgotten.detach()
        super().close()

    def stats(self) -> dict[str, Any]:
        """Counts since the start, see docs/reliability.md: accepted, delivered, duplicate, rejected, dropped, …"""
        return self._pusher.stats()

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """As logging's, but without a lock around ``emit``, whose parts are safe by themselves."""
        if not self.filters:
            self.emit(record)
            return True
        passed = self.filter(record)
        if passed:
            self.emit(record if passed is True else _passed_on(passed, record))
        return passed

    def createLock(self) -> None:
        """Make no lock: under eight threads it costs more than all the rest of a log call."""
        self.lock = None

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """Set what of a record joins its event. Raises ConfigurationError for a formatter that makes text."""
        if fmt is None:
            fmt = EventFormatter()
        if not isinstance(fmt, EventFormatter):
            raise ConfigurationError(
                f"ConnectHandler takes a connect_logging.EventFormatter, not {type(fmt).__name__}: in dictConfig,"
                ' {"()": "connect_logging.EventFormatter", "fmt": ["levelname", "message"]}'
            )
        super().setFormatter(fmt)
        self._to_properties = fmt.to_properties

    def _refuse(self, collection: object, given: object, error: Exception, record: logging.LogRecord) -> None:
        name = collection if type(collection) is str and len(collection) <= MAX_NAME_LENGTH else shown(collection)
        is_told = isinstance(error, InvalidEventError)
        reason = str(error) if is_told else f"the record could not be formatted: {type(error).__name__}"
        self._pusher.refuse(name, shown(given), f"{reason} (logged at {_place(record)})")


def _sender(
    kind: str, buffer: Buffer, connection: Connection, timeout: float, warn: Callable[[str, str], object]
) -> Sender | None:
    if kind not in SENDERS:
        raise ConfigurationError(f"sender must be {' or '.join(map(repr, SENDERS))}, not {kind!r}")
    if kind == "thread":
        return None
    # Imported here: who has no such process does not wait for its modules.
    from ._journal.spool import Spool
    from ._sender_process import SenderProcess

    if not isinstance(buffer, Spool):
        raise ConfigurationError("sender 'process': pass spool, a directory, from which it sends")
    return SenderProcess(buffer, connection, timeout, warn, time.monotonic)


def _place(record: logging.LogRecord) -> str:
    path, line = (record.__dict__.get(name) for name in ("pathname", "lineno"))
    return f"{path}:{line}" if type(path) is str and type(line) is int else "an unknown place"


def _by_sender(record: logging.LogRecord) -> bool:
    return str(record.name).partition(".")[0] in _SENDERS


def _passed_on(passed: object, record: logging.LogRecord) -> logging.LogRecord:
    """From Python 3.12 on a filter may put another record in the place of ``record``."""
    return passed if isinstance(passed, logging.LogRecord) else record


def _level(name: str, level: int | str) -> int:
    known = logging.getLevelNamesMapping()
    if isinstance(level, str) and level.upper() in known:
        return known[level.upper()]
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    raise ConfigurationError(f"{name} must be a level such as 'ERROR' or 40, not {level!r}")
