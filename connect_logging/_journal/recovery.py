"""The spool directory: made safe, searched for orphans, looked at by people.

Invariants: a file that another process owns, or a newer version wrote, is never touched; damage is copied aside,
never deleted.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

import msgspec

from .._settings import DEAD_LETTERS
from ..event import Event
from ..exceptions import ConfigurationError
from .payload import Codec
from .reading import CHUNK, read_events
from .segment import SUFFIX, NewerVersionError, Segment
from .sync import Trouble

DAMAGED_SUFFIX: Final = ".damaged"
"""Of the file beside a segment that keeps what could not be read of it."""


class SegmentInfo(msgspec.Struct, frozen=True):
    """One segment, for people. ``state``: "orphan", "in use", "newer version" or "unreadable".

    ``pid``: of the process that wrote it, 0 if unknown. ``events``: those that are not settled, ``oldest`` the first
    of them. Of a segment in use these are a moment's: its owner goes on. ``problem``: why it is unreadable.
    """

    name: str
    size: int
    state: str
    pid: int = 0
    events: int = 0
    oldest: Event | None = None
    problem: str = ""


def open_directory(path: str | Path) -> Path:
    """Make the spool directory, closed to others, or check the one that is there. Raises ConfigurationError."""
    directory = Path(path)
    try:
        for made in (*reversed(directory.parents), directory):
            if not made.exists():
                made.mkdir(mode=0o700, exist_ok=True)
        state = directory.lstat()
    except OSError as error:
        raise ConfigurationError(f"spool {str(path)!r} cannot be made: {error.strerror}") from None
    if not stat.S_ISDIR(state.st_mode):
        raise ConfigurationError(f"spool {str(path)!r} must be a directory, not a link or file")
    if state.st_uid != os.geteuid():
        raise ConfigurationError(f"spool {str(path)!r} belongs to another user")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(f"spool {str(path)!r} cannot be written")
    if state.st_mode & stat.S_ISVTX:
        raise ConfigurationError(f"spool {str(path)!r} is shared with other users: name a directory of its own")
    if state.st_mode & 0o077:
        if not is_spool(directory):
            raise ConfigurationError(f"spool {str(path)!r} has files of something else: name a directory of its own")
        directory.chmod(0o700)
    return directory.absolute()


def is_spool(directory: Path) -> bool:
    """Whether ``directory`` is empty or holds a file of a spool: others use it for something else if not."""
    names = [path.name for path in directory.iterdir()]
    return not names or any(
        name.endswith((SUFFIX, DAMAGED_SUFFIX)) or Path(DEAD_LETTERS).stem in name for name in names
    )


def adopt_orphans(
    directory: Path,
    ours: Collection[Path],
    codec: Codec,
    trouble: Trouble,
    adopt: Callable[[Path], Segment | None] = Segment.adopt,
) -> Iterator[Segment]:
    """Lock with ``adopt``, count and return the segments whose process is gone, oldest first, each busy.

    ``trouble`` is told of those that cannot be.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        trouble("orphans", f"{directory.name} cannot be searched for events of other processes: {error.strerror}")
        return
    for path in paths:
        if path in ours:
            continue
        try:
            segment = adopt(path)
        except NewerVersionError:
            trouble("newer", f"{path.name} was written by a newer version and is left alone")
        except OSError as error:
            trouble("orphans", f"{path.name} cannot be read: {error.strerror}")
        else:
            if segment is not None:
                segment.busy += 1
                segment.unread, readable = _count_events(segment, codec)
                if readable < segment.end:
                    trouble("orphans", f"{path.name} cannot be read to its end, and is left in the spool")
                    segment.cut(readable)
                yield segment


def _count_events(segment: Segment, codec: Codec) -> tuple[int, int]:
    """The events in ``segment`` that are not acknowledged, and the offset up to which it could be read."""
    events, at = 0, segment.read_to
    while at < segment.size:
        try:
            read = read_events(segment, codec, at, segment.size, sys.maxsize, CHUNK)
        except OSError:
            break
        events += len(read.events)
        at = read.end
    return events, at


def set_aside(segment: Segment, start: int, end: int, trouble: Trouble) -> None:
    """Append the bytes from ``start`` to ``end`` to the segment's file of damaged parts."""
    path = segment.path.with_suffix(DAMAGED_SUFFIX)
    trouble("damaged", f"{end - start:,} bytes of {segment.path.name} are damaged and set aside in {path.name}")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as aside:
            while start < end and (data := segment.read(start, min(CHUNK, end - start))):
                aside.write(data)
                start += len(data)
    except OSError as error:
        trouble("damaged", f"{path.name} could not be written: {error.strerror}")


def inspect(directory: Path) -> list[SegmentInfo]:
    """What lies in ``directory``, oldest first; nothing is changed. Raises OSError."""
    paths = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    return [info for path in paths if (info := _info(path)) is not None]


def _info(path: Path) -> SegmentInfo | None:
    size = 0
    try:
        size = path.lstat().st_size
        segment, owned = Segment.look_at(path)
    except NewerVersionError:
        return SegmentInfo(path.name, size, "newer version")
    except FileNotFoundError:
        return None  # sent meanwhile
    except OSError as error:
        return SegmentInfo(path.name, size, "unreadable", problem=error.strerror or type(error).__name__)
    try:
        codec = Codec()
        events, _ = _count_events(segment, codec)
        first = read_events(segment, codec, segment.read_to, segment.size, 1, CHUNK).events if events else ()
        state = "in use" if owned else "orphan"
        return SegmentInfo(path.name, size, state, segment.pid, events, first[0] if first else None)
    finally:
        segment.close()
