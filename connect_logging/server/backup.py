"""A copy of a data directory that can be served itself; of a running server's as well.

While a server runs: DuckDB changes what its file holds at checkpoints alone, and appends what is committed between them
to its log. So the server is asked to make no checkpoint (:mod:`.control`), and the file and the beginning of its log
are copied as they are, by this process, while inserts go on. Then the copy is opened and its events are counted.

Invariants: the target is not there until it is whole and on disk; a copy that was interrupted is never taken for one,
and is emptied by the next attempt; what one process copies to, no other touches; the source is only read.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from ..exceptions import ConnectError
from .control import Hold, hold
from .data_directory import DataDirectory, mark, read_private, sync_directory, write_atomically
from .stores.duckdb import DuckDBStore
from .stores.duckdb_file import log_of

_PIECE: Final = 4 * 1024 * 1024
_SYNC_AFTER: Final = 64 * 1024 * 1024
"""Bytes, so that the disk is not kept from the server's own syncs for long."""
_HEADERS: Final = 3 * 4_096
"""Bytes at the front of a DuckDB file, one of which changes with each checkpoint."""
_MEMORY: Final = "512MB"
_COUNT_WITHIN: Final = 600.0
"""Seconds."""


class BackupError(ConnectError):
    """No copy was made; the message says why."""


class Backup(NamedTuple):
    """``bytes``: of the database that was copied. ``events``: that the copy holds."""

    path: Path
    bytes: int
    events: int


def back_up(directory: DataDirectory, target: Path, on_progress: Callable[[int, int], object]) -> Backup:
    """Copy ``directory`` to ``target``, which must not be there, or be an empty directory.

    ``on_progress`` is called with the bytes copied and all there are. Raises ConnectError, OSError.
    """
    target = target.absolute()
    if directory.path.resolve() in (target.resolve(), *target.resolve().parents):
        raise BackupError(f"{target} is in the data directory itself")
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise BackupError(f"{target} is there already: give a new directory")
    try:
        with _beside(target) as partial:
            copied = _copy(directory, partial, on_progress)
            sync_directory(partial)
            partial.rename(target)
            sync_directory(target.parent)
    except OSError as error:
        if error.filename is not None:
            raise
        raise BackupError(f"{target} could not be written: {error.strerror}") from None  # as where the disk is full
    return copied._replace(path=target)


def _copy(directory: DataDirectory, partial: Path, on_progress: Callable[[int, int], object]) -> Backup:
    events = partial / directory.events_file.name
    with _still(directory) as held:
        size = _size(directory.events_file)
        log_size = held.log_bytes if held else _size(log_of(directory.events_file))
        headers = _front(directory.events_file)
        progress = _Progress(size + log_size, on_progress)
        _copy_file(log_of(directory.events_file), log_of(events), log_size, progress)
        _copy_file(directory.events_file, events, size, progress)
        if held:
            held.confirm()
        if _front(directory.events_file) != headers:
            raise BackupError("the database was written meanwhile: try again")
    # What changed since is at worst a project without events.
    with suppress(FileNotFoundError):
        write_atomically(partial / directory.projects_file.name, read_private(directory.projects_file))
    _copy_jobs(directory.jobs_directory, partial / directory.jobs_directory.name)
    found = _count(events)
    if held and found != held.events:
        raise BackupError(f"the copy holds {found:,} events, and the database {held.events:,}: try again")
    mark(partial)
    return Backup(partial, size + log_size, found)


@contextmanager
def _still(directory: DataDirectory) -> Iterator[Hold | None]:
    """The files do not change in this block, but for what a server appends: a Hold says what was there before."""
    with hold(directory.control_socket) as held:
        if held:
            yield held
            return
    with closing(directory.lock()):
        yield None


class _Progress:
    def __init__(self, total: int, tell: Callable[[int, int], object]) -> None:
        self._total = total
        self._done = 0
        self._tell = tell
        tell(0, total)

    def add(self, size: int) -> None:
        self._done += size
        self._tell(self._done, self._total)


def _copy_file(source: Path, copy: Path, size: int, progress: _Progress) -> None:
    """The first ``size`` bytes of ``source``, on disk when this returns. Of nothing no file is made."""
    if not size:
        return
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb", buffering=0) as read, os.fdopen(descriptor, "wb", buffering=0) as written:
        unsynced = 0
        while size:
            piece = read.read(min(size, _PIECE))
            if not piece:
                raise BackupError(f"{source} became shorter meanwhile: try again")
            rest = memoryview(piece)
            while rest:
                rest = rest[written.write(rest) :]
            size -= len(piece)
            unsynced += len(piece)
            if unsynced >= _SYNC_AFTER or not size:
                os.fsync(descriptor)
                unsynced = 0
            progress.add(len(piece))


def _copy_jobs(jobs: Path, copies: Path) -> None:
    """What jobs tell of themselves; one that runs is found failed in the copy."""
    for job in sorted(jobs.glob("*.json")):
        with suppress(FileNotFoundError):  # forgotten meanwhile
            text = read_private(job)
            copies.mkdir(mode=0o700, exist_ok=True)
            write_atomically(copies / job.name, text)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _front(file: Path) -> bytes:
    with suppress(FileNotFoundError), file.open("rb") as read:
        return read.read(_HEADERS)
    return b""


def _count(events: Path) -> int:
    """Open a copy, which writes its log into it, and count."""
    with closing(
        DuckDBStore(events, memory_limit=_MEMORY, threads=1, query_timeout=_COUNT_WITHIN, max_waiting=1)
    ) as store:
        return store.count()


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """An empty directory for this process alone, which goes when the block fails. Raises BackupError.

    What lies there from an attempt that was interrupted is removed. The lock on it ends with a process that is killed.
    """
    partial = target.with_name(f".{target.name}.partial")
    if partial.is_symlink() or (partial.exists() and not partial.is_dir()):
        raise BackupError(f"{partial} is in the way")
    partial.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not _is_locked(descriptor, partial):
            raise BackupError(f"another backup is being made to {target}")
        try:
            _empty(partial)
            yield partial
        except BaseException:
            with suppress(FileNotFoundError):
                shutil.rmtree(partial)
            raise
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, directory: Path) -> bool:
    """Whether this process has ``directory``, open as ``descriptor``, for itself now: another may have had it, and have
    removed it or put it in its place since it was opened."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), directory.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _empty(directory: Path) -> None:
    directory.chmod(0o700)
    for each in directory.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
