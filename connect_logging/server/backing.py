"""All that outlives a server: events, projects and jobs, opened together where the settings say.

This is the one place that knows which databases there are. A database's modules are imported when it is the one that
is asked for: who has the other need not have it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ..exceptions import ConnectError
from .data_directory import DataDirectory
from .periodic import Periodic
from .projects import ProjectFile, Projects
from .retention import Retention
from .settings import Place, Settings
from .stores.base import Commit, Store, StoreError
from .stores.clickhouse_address import ClickHouseAddress
from .transfers.job_files import JobFiles
from .transfers.jobs import Jobs

if TYPE_CHECKING:
    from .stores.duckdb import DuckDBStore

EXPIRE_EVERY: Final = 3600.0
"""Seconds."""

_SILENCE: Final = 10
"""Seconds that ClickHouse may take for projects and jobs, which are small; so long may the end of a server take."""


class PlaceError(ConnectError):
    """What keeps everything cannot be used now; the message says where and why."""


OnCommit: TypeAlias = Callable[[Commit], object]


class Backing(NamedTuple):
    """What a server stands on. ``scratch``: a directory for large files that do not outlive it; None: the system's."""

    store: Store
    projects: Projects
    jobs: Jobs
    scratch: Path | None = None


@contextmanager
def backing_of(settings: Settings, on_commit: OnCommit = lambda commit: None) -> Iterator[Backing]:
    """What ``settings`` name, for this process to serve while the block lasts.

    ``on_commit`` is told of each commit, on any thread. Raises ConnectError when it cannot be had.
    """
    with ExitStack() as opened:
        if isinstance(settings.place, Path):
            yield _in_directory(settings.place, settings, on_commit, opened)
        else:
            yield _in_clickhouse(settings.place, settings, on_commit, opened)


@contextmanager
def store_of(settings: Settings) -> Iterator[Store]:
    """The events alone; of a directory, which is made when it is missing, no server has it meanwhile.

    Raises ConnectError, of these InUseError.
    """
    with ExitStack() as opened:
        if isinstance(settings.place, Path):
            yield _duckdb(DataDirectory(settings.place, create=True), settings, lambda commit: None, opened)
        else:
            yield _clickhouse(settings.place, settings, lambda commit: None, opened)


@contextmanager
def projects_at(place: Place, *, create: bool) -> Iterator[Projects]:
    """The projects there, beside servers that run. ``create``: make what is missing. Raises ConnectError."""
    if isinstance(place, Path):
        yield ProjectFile(DataDirectory(place, create=create).projects_file)
        return
    from .stores.clickhouse_connection import ClickHouse
    from .stores.clickhouse_projects import ClickHouseProjects
    from .stores.clickhouse_tables import make_tables, tables_of

    with closing(ClickHouse(place, silence=_SILENCE)) as database, _said(place):
        tables = make_tables(database) if create else tables_of(place)
        yield ClickHouseProjects(database, tables.projects)


def _in_directory(path: Path, settings: Settings, on_commit: OnCommit, opened: ExitStack) -> Backing:
    directory = DataDirectory(path, create=True)
    directory.check_writable()
    store = _duckdb(directory, settings, on_commit, opened)
    opened.enter_context(_controlled(directory.control_socket, store))
    if settings.retention is not None:
        retention = Retention(store, settings.retention)
        opened.enter_context(closing(Periodic("old events are not deleted", EXPIRE_EVERY, retention.expire)))
        opened.callback(retention.stop)
    jobs = opened.enter_context(closing(Jobs(JobFiles(directory.jobs_directory))))
    return Backing(store, ProjectFile(directory.projects_file), jobs, directory.path)


def _duckdb(directory: DataDirectory, settings: Settings, on_commit: OnCommit, opened: ExitStack) -> DuckDBStore:
    from .stores.duckdb import DuckDBStore

    opened.enter_context(closing(directory.lock()))
    store = DuckDBStore(
        directory.events_file,
        memory_limit=settings.memory_limit,
        threads=settings.threads,
        query_timeout=settings.query_timeout,
        max_waiting=settings.max_waiting_bytes,
        max_collections=settings.max_collections,
        on_commit=on_commit,
    )
    opened.callback(store.close)
    return store


def _in_clickhouse(address: ClickHouseAddress, settings: Settings, on_commit: OnCommit, opened: ExitStack) -> Backing:
    from .stores.clickhouse_connection import ClickHouse
    from .stores.clickhouse_projects import REFRESH_AFTER, ClickHouseProjects
    from .stores.clickhouse_retention import keep
    from .stores.clickhouse_tables import tables_of
    from .transfers.job_table import JobTable

    store = _clickhouse(address, settings, on_commit, opened)
    with _said(address):
        database = opened.enter_context(closing(ClickHouse(address, silence=_SILENCE)))
        tables = tables_of(address)
        keep(database, tables, settings.retention)
        projects = ClickHouseProjects(database, tables.projects)
    opened.enter_context(closing(Periodic("projects are not read anew", REFRESH_AFTER, projects.refresh)))
    jobs = opened.enter_context(closing(Jobs(JobTable(database, tables.jobs))))
    return Backing(store, projects, jobs)


def _clickhouse(address: ClickHouseAddress, settings: Settings, on_commit: OnCommit, opened: ExitStack) -> Store:
    from .stores.clickhouse import ClickHouseStore

    with _said(address):
        store = ClickHouseStore(
            address,
            memory_limit=settings.memory_limit,
            query_timeout=settings.query_timeout,
            max_waiting=settings.max_waiting_bytes,
            on_commit=on_commit,
        )
    opened.callback(store.close)
    return store


@contextmanager
def _said(address: ClickHouseAddress) -> Iterator[None]:
    """Say which address it is that does not answer."""
    try:
        yield
    except StoreError as error:
        raise PlaceError(f"{address}: {error.in_full}") from None


@contextmanager
def _controlled(path: Path, store: DuckDBStore) -> Iterator[None]:
    """Let backups be made, where the file system has sockets."""
    from .control import Control

    try:
        control = Control(path, store)
    except OSError as error:
        print(  # noqa: T201
            f"no backup can be made while this server runs: {path}: {error.strerror}", file=sys.stderr, flush=True
        )
        yield
    else:
        with closing(control):
            yield
