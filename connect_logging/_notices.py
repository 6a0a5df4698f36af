"""Tells the operator what he should know: a warning in the log, at most one a minute for each topic.

The pusher must never wait on logging: somebody may hold logging's lock (``dictConfig`` does, while it closes this
very handler). So each warning is logged by a short-lived thread of its own; where none can start, at interpreter
shutdown, it goes to standard error; so it does where the handlers of this package are the only ones.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeAlias

from ._types import AnswerKind, Clock

EVERY: Final = 60.0
"""Seconds between two warnings on one topic."""

LOGGER: Final = "connect_logging"
"""Where the warnings appear."""


OnDrop: TypeAlias = Callable[[str, int], object]
"""The user's callback: a reason, and how many events were dropped for it since the last call."""

DROP_REASONS: Final = {
    "buffer_full": "the buffer is full: raise max_events or max_bytes, or see why the server is behind",
    "spool_full": "the spool is full: raise spool_max_bytes, or see why the server is behind",
    "damaged": "what the spool held of them was damaged on disk, and is set aside there",
    "closed": "closed before they could be sent",
    "too_many_invalid": "more invalid events than dead letters could be written for",
    "gave_up": "the server did not answer in time",
    "denied": "the key was refused: check project_id and api_key",
    "misdirected": "no Connect server answered: check base_url",
}
"""Every reason under which an event may be dropped, in words."""


ADVICE: Final = {
    AnswerKind.UNAVAILABLE: "They are sent when the server is back.",
    AnswerKind.DENIED: "Check project_id, and that api_key may push.",
    AnswerKind.MISDIRECTED: "Check base_url.",
}
"""What to do about events that are kept because of such an answer."""

GIVEN_UP: Final = {
    AnswerKind.UNAVAILABLE: "gave_up",
    AnswerKind.DENIED: "denied",
    AnswerKind.MISDIRECTED: "misdirected",
}
"""Under which of these reasons events are dropped that are not kept."""


class Notices:
    """Rate-limited warnings. ``clock``: monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """For a forked child: its threads and its silence are its own."""
        self._turn = threading.RLock()  # a signal's handler may warn within a warning
        self._last: dict[str, float] = {}
        self._threads: list[threading.Thread] = []

    def warn(self, topic: str, message: str) -> None:
        """Log ``message`` unless its topic had its turn less than ``EVERY`` seconds ago."""
        with self._turn:
            now = self._clock()
            if now - self._last.get(topic, -EVERY) < EVERY:
                return
            self._last[topic] = now
        thread = threading.Thread(target=_log, args=(message,), name="connect-logging-notice", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            _print(message)
        else:
            self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]

    def finish(self, timeout: float) -> None:
        """Give warnings under way at most ``timeout`` seconds to appear: the process may be about to exit."""
        deadline = self._clock() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock()))


class DropReport:
    """Reports new losses, as a notice and to the user's callback, on whatever thread asks for it."""

    def __init__(self, notices: Notices, on_drop: OnDrop | None) -> None:
        self._notices = notices
        self._on_drop = on_drop
        self.reset()

    def reset(self) -> None:
        """Begin at nothing: for a forked child."""
        self._lock = threading.Lock()
        self._reported: Counter[str] = Counter()

    def report(self, dropped: Counter[str]) -> None:
        """``dropped``: events lost so far, by reason."""
        with self._lock:
            new = dropped - self._reported
            self._reported |= dropped
        for reason, count in new.items():
            words = DROP_REASONS[reason]
            self._notices.warn(f"dropped {reason}", f"events dropped so far: {dropped[reason]}; {words}")
            if self._on_drop is not None:
                try:
                    self._on_drop(reason, count)
                except BaseException as error:  # the user's code: sys.exit, say, or asyncio's CancelledError
                    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                        raise
                    self._notices.warn("on_drop", f"on_drop raised {type(error).__name__}: {error}")


def _log(message: str) -> None:
    logger = logging.getLogger(LOGGER)
    if _only_ours_listen(logger):
        _print(message)
    else:
        logger.warning("%s", message)


def _only_ours_listen(logger: logging.Logger) -> bool:
    """Whether every handler that would hear ``logger`` is this package's, which ignores what the package says."""
    handlers: list[logging.Handler] = []
    up: logging.Logger | None = logger
    while up is not None:
        handlers += up.handlers
        up = up.parent if up.propagate else None
    return bool(handlers) and all(map(_is_ours, handlers))


def _is_ours(handler: logging.Handler) -> bool:
    return any(kind.__module__.startswith("connect_logging.") for kind in type(handler).__mro__)


def _print(message: str) -> None:
    with contextlib.suppress(Exception):  # standard error may be closed by now
        sys.stderr.write(f"{LOGGER}: {message}\n")
