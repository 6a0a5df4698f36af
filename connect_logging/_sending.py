"""Sending within a command: the pusher of handlers and clients, watched by a person.

Invariant: nothing is given up. What the server does not take stays with whoever keeps it, and is told of.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ._console import plain
from ._dead_letter import DeadLetterLog
from ._durability import BufferOptions
from ._notices import Notices
from ._pusher import Pusher
from ._retry import RetryPolicy
from ._settings import LARGEST, Connection, Triggers
from ._transport import HttpTransport
from ._types import AnswerKind, Overflow
from .event import Buffer
from .rules import MAX_BATCH_EVENTS

TICK: Final = 0.05
"""Seconds between two looks at how far it is."""
REQUEST_TIMEOUT: Final = 10.0
"""Seconds for one request, as a handler's default."""

_HOPELESS: Final = {AnswerKind.DENIED.name, AnswerKind.MISDIRECTED.name}
"""Topics of notices on what only the person can mend: no use in trying again meanwhile."""
_MOST_REMARKS: Final = 5
"""On one topic."""


class Remarks(Notices):
    """Notices for a person who looks on: on standard error at once, the first few of each topic, none twice.

    Those of drops are left out: a command tells at its end what was not sent, and where it still is.
    """

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self.console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        self._made: dict[str, set[str]] = {}

    @property
    def hopeless(self) -> bool:
        """Whether the server will refuse whatever comes next."""
        return not _HOPELESS.isdisjoint(self._made)

    def warn(self, topic: str, message: str) -> None:
        """Print ``message``."""
        made = self._made.setdefault(topic, set())
        if message not in made and len(made) < _MOST_REMARKS and not topic.startswith("dropped"):
            made.add(message)
            self.console.print(plain(message, 2_000))


def make_buffer(remarks: Remarks, spool: Path | None = None) -> Buffer:
    """A buffer without bounds, on disk in ``spool`` or in memory. Raises ConfigurationError."""
    return BufferOptions(
        spool=spool,
        durability=None,
        spool_max_bytes=LARGEST,
        loss_window_ms=1.0,
        max_events=LARGEST,
        max_bytes=LARGEST,
        overflow=Overflow.DROP_NEWEST,
        block_timeout=0.0,
    ).make(remarks, time.monotonic)


def make_pusher(connection: Connection, buffer: Buffer, remarks: Remarks, dead_letters: Path | None = None) -> Pusher:
    """A pusher that sends at once and does not give up."""
    return Pusher(
        buffer=buffer,
        transport=HttpTransport(connection, REQUEST_TIMEOUT, time.monotonic),
        retry=RetryPolicy(base=0.2, cap=5.0),
        dead_letters=None if dead_letters is None else DeadLetterLog(dead_letters, time.time),
        triggers=Triggers(MAX_BATCH_EVENTS, 1, 0.0),
        notices=remarks,
        exit_timeout=0.0,
        clock=time.monotonic,
    )


def send(pusher: Pusher, remarks: Remarks, patience: float) -> tuple[dict[str, Any], str]:
    """Send all that ``pusher`` has, with a progress bar where there is a terminal, then close it.

    Returns its statistics, and why it stopped before all was settled: an empty text when it did not.
    Stops when nothing was settled for ``patience`` seconds, at what only a person can mend, and at Ctrl-C.
    """
    reason = ""
    try:
        pusher.start()
        reason = _watch(pusher, remarks, patience)
    except KeyboardInterrupt:
        reason = "stopped by Ctrl-C"
    stats = pusher.stats()
    pusher.close(0.0)
    return stats, reason


def _watch(pusher: Pusher, remarks: Remarks, patience: float) -> str:
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=remarks.console, disable=not remarks.console.is_terminal) as progress:
        bar = progress.add_task("")
        before, since = -1, 0.0
        while (stats := pusher.stats())["pending"]:
            settled = stats["accepted"] - stats["pending"]
            progress.update(bar, total=stats["accepted"], completed=settled)
            if settled > before:
                before, since = settled, time.monotonic()
            if remarks.hopeless or time.monotonic() - since > patience:
                return plain(stats["last_error"] or "the server did not answer in time", 500)
            time.sleep(TICK)
        progress.update(bar, total=stats["accepted"], completed=stats["accepted"])
    return ""
