"""An open DuckDB file that mends itself.

An error that DuckDB calls fatal, such as a failed fsync, and a checkpoint that failed, also one that DuckDB began by
itself, leave the open database refusing everything, while the file is as sound as its last commit. So the file is
opened again, once everyone who works on the broken one has left.

Invariants: what a cursor does cannot reach outside the file and :attr:`DuckDBFile.scratch` (external access is off and
the configuration locked); ``on_open`` has seen the file, after each time that it was opened, before anyone else does.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import duckdb

_CHECKPOINTS: Final[dict[str, str | int]] = {
    "checkpoint_threshold": "32MB",
    "max_vacuum_tasks": 0,
    "variant_minimum_shredding_size": 1_000,
}
"""When the log is written into the file, and how. DuckDB merges what it wrote before by its own choice, which took two
thirds of the time of inserts and stopped them for seconds. What is written is never written again; the price is smaller
groups of rows, which are shredded (read a property at a time) all the same."""

ROW_GROUP_SIZE: Final = 30_720
"""Rows that are written together, by one thread, while inserts wait: of DuckDB's own choice, 122,880, what the log
holds would be one or two groups. Questions read larger groups faster."""

_HELD: Final[dict[str, str | bool | int | float | list[str]]] = {
    "checkpoint_threshold": "1TB",
    "auto_checkpoint_skip_wal_threshold": 10**12,
}
"""What keeps DuckDB from checkpoints. The second is for a commit so large that it would go round the log."""
_NOT_HELD: Final = {
    "checkpoint_threshold": _CHECKPOINTS["checkpoint_threshold"],
    "auto_checkpoint_skip_wal_threshold": 100_000,
}

_UNITS: Final = {"MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}
_INVALIDATED: Final = "has been invalidated"
"""What DuckDB says of a database whose checkpoint failed, for memory or the disk; the error is no fatal one to it."""

_WITH_PLANS: Final = "SET SESSION enable_optimizer = true"
_WITHOUT_PLANS: Final = "SET SESSION enable_optimizer = false"


class DuckDBFile:
    """The file ``path``. Safe to share between threads; all methods may raise duckdb.Error.

    ``scratch``: a directory for files that do not outlive what they were made for. It is not there until it is made,
    and what a process that was killed has left in it, or where DuckDB keeps what memory has no room for, goes when the
    file is opened.
    """

    def __init__(
        self, path: Path, *, memory_limit: str, threads: int, on_open: Callable[[duckdb.DuckDBPyConnection], None]
    ) -> None:
        self.scratch = path.with_name(f"{path.name}.scratch")
        self._path = path
        self._spilt = path.with_name(f"{path.name}.tmp")
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "threads": threads,
            "temp_directory": str(self._spilt),
            **_CHECKPOINTS,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allowed_configs": [*_HELD, "enable_optimizer"],
        }
        self._on_open = on_open
        self._changed = threading.Condition()
        self._users = 0
        self._is_broken = False
        self._is_held = False
        self._writer: duckdb.DuckDBPyConnection | None = None
        self._connection = self._open()

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of one's own for the length of the block."""
        with self._opened() as connection:
            with self._changed:
                cursor = connection.cursor()
            with closing(cursor):
                yield cursor

    @contextmanager
    def writer(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The same connection each time, for the one thread that writes; a new one after a block that failed.

        It runs statements as they are written, without DuckDB's optimizer. Of an insert that would compute beforehand,
        value by value, what is computed as a whole otherwise. What is looked up needs it, see :func:`planned`.
        """
        with self._opened() as connection:
            writer, self._writer = self._writer, None
            if writer is None:
                with self._changed:
                    writer = connection.cursor()
                writer.execute(_WITHOUT_PLANS)
            try:
                yield writer
            except BaseException:
                writer.close()
                raise
            self._writer = writer

    def mend(self) -> None:
        """Open it again if it broke, as all do who come, so that ``on_open`` has seen what a failed commit has left."""
        with self._opened():
            pass

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_broken or not self._users)
            if self._is_broken:
                self.close()
                self._connection = self._open()
                self._is_broken = False
            self._users += 1
        try:
            yield self._connection
        except duckdb.Error as error:
            if isinstance(error, duckdb.FatalException) or _INVALIDATED in str(error):
                self._is_broken = True
            raise
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    @property
    def size(self) -> int:
        """Bytes on disk, with the log."""
        return self._path.stat().st_size + self.log_size

    @property
    def log_size(self) -> int:
        """Bytes of the log: of what was committed since the last checkpoint."""
        with suppress(FileNotFoundError):  # it goes when it has been written into the file
            return log_of(self._path).stat().st_size
        return 0

    def checkpoint(self) -> bool:
        """Write what is in the log into the file, so that memory need not hold it; False while the file is held."""
        if self._is_held:
            return False
        with self.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        return True

    def hold(self, *, held: bool) -> None:
        """Have no checkpoint until further notice: the file stays as it is, and the log only grows."""
        with self.cursor() as cursor:
            for name, value in (_HELD if held else _NOT_HELD).items():
                cursor.execute(f"SET GLOBAL {name} = '{value}'")
        self._is_held = held

    def close(self) -> None:
        """Write what is in the log into the file, and let go of it. May be called again."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        self._connection.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        for left in (self.scratch, self._spilt):
            shutil.rmtree(left, ignore_errors=True)
        connection = duckdb.connect(config=self._config | (_HELD if self._is_held else {}))
        try:
            # The size of groups, of those that are yet to come, is an option of ATTACH alone. What is attached takes
            # the place of the database in memory, so that each connection begins in it.
            path = str(self._path).replace("'", "''")
            connection.execute(f"ATTACH OR REPLACE '{path}' AS memory (TYPE duckdb, ROW_GROUP_SIZE {ROW_GROUP_SIZE})")
            connection.execute("SET allowed_directories = [?]", [str(self.scratch)])
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            self._on_open(connection)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def planned(writer: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Have DuckDB plan what the writer asks it in the block. One that fails leaves a connection that is given up."""
    writer.execute(_WITH_PLANS)
    yield
    writer.execute(_WITHOUT_PLANS)


def bytes_of(memory_limit: str) -> int:
    """What DuckDB takes ``1GB`` or ``1.5MiB`` for."""
    number = memory_limit.rstrip("GMiB")
    return int(float(number) * _UNITS[memory_limit[len(number) :]])


def log_of(path: Path) -> Path:
    """The log of a database file, which is there when it holds something."""
    return path.with_name(f"{path.name}.wal")
