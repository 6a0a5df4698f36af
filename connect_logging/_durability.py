"""Which buffer an application gets for what it wants its events to survive.

``"memory"``: nothing; they are lost with the process. ``"process"``: the end of the process, however it ends.
``"disk"``: a power cut as well, save for the events of the last ``loss_window_ms`` and a sync.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from ._buffer import MemoryBuffer
from ._notices import Notices
from ._settings import DEAD_LETTERS, Triggers, number, whole_number
from ._types import Clock, Overflow
from .event import Buffer
from .exceptions import ConfigurationError

MIN_SPOOL_BYTES: Final = 1024 * 1024
"""The least bound that leaves room for segments of several events."""

DURABILITIES: Final = ("memory", "process", "disk")


class BufferOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of clients and handlers that make their buffer; see :class:`~.handler.ConnectHandler`."""

    spool: str | Path | None
    durability: str | None
    spool_max_bytes: int
    loss_window_ms: float
    max_events: int
    max_bytes: int
    overflow: str
    block_timeout: float

    def __post_init__(self) -> None:
        if self.spool is not None and not _is_path(self.spool):
            raise ConfigurationError(f"spool must be a directory, not {self.spool!r}")

    def make(self, notices: Notices, clock: Clock) -> Buffer:
        """The buffer. Raises ConfigurationError."""
        overflow = _overflow(self.overflow)
        block_timeout = number("block_timeout", self.block_timeout, least=0)
        memory = MemoryBuffer(
            max_events=whole_number("max_events", self.max_events, least=1),
            max_bytes=whole_number("max_bytes", self.max_bytes, least=1),
            overflow=overflow,
            block_timeout=block_timeout,
            clock=clock,
        )
        spool_max_bytes = whole_number("spool_max_bytes", self.spool_max_bytes, least=MIN_SPOOL_BYTES)
        window = number("loss_window_ms", self.loss_window_ms, least=1) / 1000
        durability = self._durability()
        if durability == "memory" or self.spool is None:
            return memory
        # Imported here: who has no spool does not wait for its modules.
        from ._journal.recovery import open_directory
        from ._journal.spool import Spool
        from ._journal.sync import Syncer

        return Spool(
            open_directory(self.spool),
            max_bytes=spool_max_bytes,
            overflow=overflow,
            block_timeout=block_timeout,
            fallback=memory,
            trouble=notices.warn,
            clock=clock,
            syncer=Syncer(window, notices.warn) if durability == "disk" else None,
        )

    def triggers(self, events: int, size: int, interval: float) -> Triggers:
        """So many ``events``, ``size`` bytes or ``interval`` seconds, or what fills half of the buffer: it loses events
        when it is full, and so does not wait until then."""
        most = self.max_bytes if self.spool is None else self.spool_max_bytes
        return Triggers(max(1, min(events, self.max_events // 2)), max(1, min(size, most // 2)), interval)

    def dead_letters(self, named: str | Path | None) -> str | Path | None:
        """The file for dead letters: the one that is ``named``, or one in the spool directory.

        Raises ConfigurationError for what cannot be one; whether the disk takes it shows with the first letter.
        """
        if named is None:
            return None if self.spool is None else Path(self.spool) / DEAD_LETTERS
        if not _is_path(named) or (Path(named).exists() and not Path(named).is_file()):
            raise ConfigurationError(f"dead_letters must be a file, not {str(named)!r}")
        is_in_spool = self.spool is not None and Path(named).is_relative_to(self.spool)
        if not is_in_spool and not Path(named).parent.is_dir():
            raise ConfigurationError(f"dead_letters: {str(Path(named).parent)!r} is no directory")
        return named

    def _durability(self) -> str:
        durability = self.durability or ("memory" if self.spool is None else "process")
        if durability not in DURABILITIES:
            choices = ", ".join(map(repr, DURABILITIES))
            raise ConfigurationError(f"durability must be one of {choices}, not {durability!r}")
        if (durability == "memory") != (self.spool is None):
            hint = "pass spool, a directory" if self.spool is None else "leave spool out"
            raise ConfigurationError(f"durability {durability!r}: {hint}")
        return durability


def _is_path(named: object) -> bool:
    return isinstance(named, str | Path) and bool(str(named)) and "\0" not in str(named)


def _overflow(name: str) -> Overflow:
    try:
        return Overflow(name)
    except ValueError:
        choices = ", ".join(repr(policy.value) for policy in Overflow)
        raise ConfigurationError(f"overflow must be one of {choices}, not {name!r}") from None
