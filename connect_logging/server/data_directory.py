"""The directory that holds a server's data, and the right to use it.

    connect-logging.json    the marker: this directory is ours, and its format
    control                 the socket of the server that runs: whoever may use the directory may ask it
    lock                    held (flock) by the one server that uses the directory
    projects.json           projects and keys; other processes may read and change it meanwhile
    projects.json.lock      held (flock) by the one that changes them
    events.duckdb           the events
    jobs/                   what imports and exports tell of themselves

Invariants: the directory is owned by this user and closed to all others (0700), no symbolic link stands in for it
or for a file that is opened here, and a directory with foreign content or of a newer format is never written to.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final

import msgspec

from ..exceptions import ConnectError

FORMAT: Final = 1
"""Raised when a server of the old format could damage or misread the new one."""

_MARKER: Final = "connect-logging.json"
_NOT_WRITABLE: Final = "cannot be written to: check its owner and mode"


class DataDirectoryError(ConnectError):
    """The data directory cannot be used; the message says why and what to do."""


class InUseError(DataDirectoryError):
    """Another process has the directory."""


class _Marker(msgspec.Struct):
    format: int
    product: str = "connect-logging"


class DataDirectory:
    """A checked data directory. ``path`` is absolute.

    Several processes may have it open; one at a time can :meth:`lock` it.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Check ``path``; ``create`` makes it when it is missing or empty. Raises DataDirectoryError."""
        self.path = path.absolute()
        try:
            self._check(create)
        except PermissionError:
            raise DataDirectoryError(f"{path} {_NOT_WRITABLE}") from None
        except OSError as error:
            raise DataDirectoryError(f"{path} cannot be used: {error.strerror}") from None

    @property
    def projects_file(self) -> Path:
        """Where projects and keys are kept."""
        return self.path / "projects.json"

    @property
    def events_file(self) -> Path:
        """Where the events are kept."""
        return self.path / "events.duckdb"

    @property
    def jobs_directory(self) -> Path:
        """Where jobs are kept; made when it is needed."""
        return self.path / "jobs"

    @property
    def control_socket(self) -> Path:
        """Where the server that runs is asked for what only it can do."""
        return self.path / "control"

    def lock(self) -> DirectoryLock:
        """Take the directory for this process; raises InUseError when a server already has it."""
        lock = DirectoryLock(self.path / "lock")
        remove_unfinished(self.path / _MARKER)
        return lock

    def check_writable(self) -> None:
        """Raises DataDirectoryError where no file can be made in it: DuckDB misses that with the first event alone."""
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise DataDirectoryError(f"{self.path} {_NOT_WRITABLE}")

    def _check(self, create: bool) -> None:
        if create:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            raise DataDirectoryError(f"{self.path} does not exist: 'connect-logging serve' makes it") from None
        if not stat.S_ISDIR(status.st_mode):
            raise DataDirectoryError(f"{self.path} is not a directory (a symbolic link is not followed)")
        if status.st_uid != os.geteuid():
            raise DataDirectoryError(f"{self.path} belongs to another user")
        marker = self.path / _MARKER
        if not marker.exists():
            if not all(each.match(_unfinished(marker)) for each in self.path.iterdir()):
                raise DataDirectoryError(f"{self.path} is not ours: it has files but no {_MARKER}")
            if not create:
                raise DataDirectoryError(f"{self.path} is empty: 'connect-logging serve' fills it")
            self.path.chmod(0o700)
            with suppress(FileNotFoundError):  # another made it at the same time, and took ours for unfinished
                mark(self.path)
        elif status.st_mode & 0o077:
            self.path.chmod(0o700)
        self._check_format(marker)

    def _check_format(self, marker: Path) -> None:
        try:
            found = msgspec.json.decode(read_private(marker), type=_Marker)
        except msgspec.MsgspecError:
            raise DataDirectoryError(f"{marker} is damaged: this is not a data directory of ours") from None
        if found.format > FORMAT:
            raise DataDirectoryError(
                f"{self.path} has format {found.format}; this version reads up to {FORMAT}: upgrade connect-logging"
            )


class DirectoryLock:
    """An exclusive lock on a file, until :meth:`close` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Raises InUseError at once when another process holds it."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise InUseError(f"{path.parent} is in use by another server (process {holder or 'unknown'})") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Give the directory back. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def mark(directory: Path) -> None:
    """Make a directory one of ours, of this version's format."""
    write_atomically(directory / _MARKER, msgspec.json.encode(_Marker(FORMAT)))


def read_private(path: Path) -> bytes:
    """The whole file, which must not be a symbolic link. Raises OSError, which names it."""
    with FileIO(str(path), opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
        return file.readall()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by a file of mode 0600 with ``content``: after a crash it is the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed left of writing ``path``, which nobody may be writing now."""
    for each in path.parent.glob(_unfinished(path)):
        each.unlink(missing_ok=True)


def _unfinished(path: Path) -> str:
    """A pattern for the temporary files of :func:`write_atomically`."""
    return f".{path.name}.[0-9]*"


def sync_directory(path: Path) -> None:
    """Have on disk which files a directory holds."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
