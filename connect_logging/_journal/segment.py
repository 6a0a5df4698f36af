"""A segment that this process owns: appended to, read, acknowledged and removed.

Invariants:

* Whoever has a Segment holds the lock on its file, and the file is still in its directory.
* Up to ``end`` places are taken. Those in ``writing`` are being written, and belong to who writes; up to the first of
  them, ``size``, every record is whole. What a failed write left behind ``end`` is overwritten by the next.
* ``read_to <= size <= end``, whatever a file says.
* The file is not closed while somebody writes to it: its number could be another file's by then.
* The acknowledgement is written only where no unsettled record can lie.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from bisect import bisect_left
from pathlib import Path
from struct import Struct
from typing import Final, Self
from zlib import crc32

from ..event import Draft, Event, new_id
from .payload import seed_of

SUFFIX: Final = ".journal"
VERSION: Final = 1

_MAGIC: Final = b"CNCTJRNL"
_HEADER: Final = Struct("<8sHHI")
_ACKNOWLEDGED_AT: Final = 16
HEADER_SIZE: Final = 32
RECENT_BYTES: Final = 4 * 1024 * 1024
"""Of records, whose events stay in memory where they are the next to be taken: from there it takes two thirds of the
time that it takes from the file."""


class NewerVersionError(Exception):
    """The segment was written by a later version of this package, and is to be left alone."""


class Segment:
    """One file. Made by :meth:`create` and :meth:`adopt`.

    ``seed``: of the ids of its drafts (:func:`~.payload.seed_of`). ``writing``: the offsets of places that are taken
    and not written yet; who has written takes his out, which needs no lock. ``recent``: events as they were put, by
    the offsets of their records; those that begin before ``recent_end`` are kept until they are read.
    ``unread``: records between ``read_to`` and ``end``. ``taken``: those that were read and are not settled, by
    whatever key the reader chooses, in the order in which they were read, with their offsets. ``busy``: how many
    calls are in the middle of working with it: not to be removed meanwhile. ``listed``: whether its name in the
    directory is synced. ``whole``: whether it ends at ``end``, and so may be removed when all up to there is settled.
    """

    def __init__(self, path: Path, descriptor: int, size: int, send_from: int, pid: int) -> None:
        self.path = path
        self.name = path.name
        self.seed = seed_of(path.name)
        self.descriptor = descriptor
        self.end = size
        self.writing: dict[int, None] = {}
        self.recent: dict[int, Event | Draft] = {}
        self.recent_end = 0
        self._given_back: dict[int, int] = {}
        self.is_closing = False
        self.acknowledged = max(send_from, HEADER_SIZE)
        self.read_to = min(send_from, size)
        self.pid = pid
        self.unread = 0
        self.taken: dict[int, int] = {}
        self.busy = 0
        self.listed = False
        self.whole = True

    @classmethod
    def create(cls, directory: Path) -> Self:
        """A new segment. Raises OSError."""
        while True:
            path = directory / f"{new_id().replace('-', '')}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if _lock(descriptor):  # else an adopter was quicker, and has found an empty orphan
                    header = _HEADER.pack(_MAGIC, VERSION, HEADER_SIZE, os.getpid())
                    _write(descriptor, header + _acknowledgement(HEADER_SIZE) + _checksum(header), 0)
                    return cls(path, descriptor, HEADER_SIZE, HEADER_SIZE, os.getpid())
            except BaseException:
                with contextlib.suppress(OSError):
                    path.unlink()
                os.close(descriptor)
                raise
            os.close(descriptor)

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """The orphan at ``path``; None when somebody owns it, or it is gone.

        Raises NewerVersionError, and OSError when it cannot be read or is no regular file.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            pid, send_from = _read_header(os.pread(descriptor, HEADER_SIZE, 0))
            return cls(path, descriptor, os.fstat(descriptor).st_size, send_from, pid)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def look_at(cls, path: Path) -> tuple[Self, bool]:
        """The segment at ``path``, to be read only, and whether somebody owns it. Who owns it is not disturbed.

        Raises NewerVersionError, and OSError when it cannot be read or is no regular file.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            owned = not _lock(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            pid, send_from = _read_header(os.pread(descriptor, HEADER_SIZE, 0))
            return cls(path, descriptor, state.st_size, send_from, pid), owned
        except BaseException:
            os.close(descriptor)
            raise

    def write(self, record: bytes, start: int) -> None:
        """Write ``record`` to its place, which is taken already. Raises OSError."""
        if os.pwrite(self.descriptor, record, start) != len(record):
            raise _full()

    def read(self, start: int, size: int) -> bytes:
        """``size`` bytes from the offset ``start`` on, fewer only where the file ends. Raises OSError."""
        return os.pread(self.descriptor, size, start)

    def acknowledge(self) -> None:
        """Record that nothing before the oldest taken record has to be sent again. Raises OSError."""
        settled = next(iter(self.taken.values()), self.read_to)
        if settled > self.acknowledged:
            _write(self.descriptor, _acknowledgement(settled), _ACKNOWLEDGED_AT)
            self.acknowledged = settled

    def keep_recent(self) -> None:
        """Keep the events in memory that are put next, as it will soon be read up to here."""
        to = self.read_to + RECENT_BYTES
        # One step, in which nothing is called: none is put meanwhile, which would be missing among the others.
        if not self.recent or self.end <= self.recent_end:
            self.recent_end = to

    def forget_recent(self, before: int) -> None:
        """Those whose records begin ``before`` that offset were read from the file."""
        starts = [*self.recent]
        for start in starts[: bisect_left(starts, before)]:
            self.recent.pop(start, None)

    def cut(self, end: int) -> None:
        """Know nothing of what lies behind the offset ``end``: it cannot be read."""
        self.end = end
        self.whole = False

    @property
    def size(self) -> int:
        """The offset up to which every record is whole."""
        end = self.end  # first: places that are taken from here on lie behind it
        return min([end, *self.writing])

    def give_back(self, start: int, end: int) -> int:
        """The place from ``start`` to ``end`` could not be written. Returns by how much the segment is shorter now.

        It remains, a gap, as long as others lie behind it. Several that fail at once are all gone in the end.
        """
        given_back = self._given_back
        shorter = 0
        self.unread -= 1
        given_back[end] = start
        while self.end in given_back:  # within which nothing is called, so nothing re-enters
            last = self.end
            self.end = given_back[last]
            shorter += last - self.end
            del given_back[last]
        return shorter

    @property
    def is_idle(self) -> bool:
        """Whether all that lies in it only waits."""
        return not (self.taken or self.busy or self.writing)

    @property
    def done(self) -> bool:
        """Whether every record in it is settled."""
        return self.read_to >= self.end and not self.taken

    @property
    def closed(self) -> bool:
        """Whether this process has let go of the file."""
        return self.descriptor < 0

    @property
    def unlinked(self) -> bool:
        """Whether the file is in no directory any more: somebody has deleted it."""
        return os.fstat(self.descriptor).st_nlink == 0

    def close(self) -> None:
        """Let go of the file, which is then an orphan, or leave that to the last of those who write. Idempotent."""
        self.is_closing = True  # first: whoever has written by then looks at it
        if not self.writing:
            self.let_go()

    def let_go(self) -> None:
        """Close the file at once: for a forked child, in which nobody writes to it. Idempotent."""
        # From here on every use is an OSError, and not a use of the file that gets this number next.
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def remove(self) -> None:
        """Delete the file, of which all is acknowledged, and let go of it. Raises OSError when it stays."""
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()


def _lock(descriptor: int) -> bool:
    """Lock the file, if nobody else has, and it was not deleted meanwhile by one who had."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _write(descriptor: int, data: bytes, at: int) -> None:
    if os.pwrite(descriptor, data, at) != len(data):
        raise _full()


def _full() -> OSError:
    """The kernel writes less than it was asked to when the disk is full, and says so only the next time."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _acknowledgement(offset: int) -> bytes:
    packed = offset.to_bytes(8, "little")
    return packed + _checksum(packed)


def _checksum(data: bytes) -> bytes:
    return crc32(data).to_bytes(4, "little")


def _read_header(header: bytes) -> tuple[int, int]:
    """The writer's process id, 0 if unreadable, and the offset from which on to send: 0 where there is no header."""
    if len(header) < HEADER_SIZE:
        return 0, 0
    fixed, offset, checksum = header[:16], header[16:24], header[24:28]
    magic, version, _, pid = _HEADER.unpack(fixed)
    known = magic == _MAGIC and header[28:] == _checksum(fixed)
    if known and version > VERSION:
        raise NewerVersionError
    if checksum == _checksum(offset):
        return (pid if known else 0), max(int.from_bytes(offset, "little"), HEADER_SIZE)
    return (pid, HEADER_SIZE) if known else (0, 0)
