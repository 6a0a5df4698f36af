"""All that outlives a server: events, projects and jobs, opened together where the settings say.

This is the one place that knows which databases there are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from .control import Control
from .data_directory import DataDirectory
from .projects import ProjectFile, Projects
from .settings import Settings
from .stores.base import Commit, Store
from .stores.duckdb import DuckDBStore
from .transfers.job_files import JobFiles
from .transfers.jobs import Jobs


class Backing(NamedTuple):
    """What a server stands on. ``scratch``: a directory for large files that do not outlive it; None: the system's."""

    store: Store
    projects: Projects
    jobs: Jobs
    scratch: Path | None = None


@contextmanager
def backing_of(settings: Settings, on_commit: Callable[[Commit], object] = lambda commit: None) -> Iterator[Backing]:
    """What ``settings`` name, for this process to serve while the block lasts.

    ``on_commit`` is told of each commit, on any thread. Raises ConnectError when it cannot be had.
    """
    directory = DataDirectory(settings.data, create=True)
    with ExitStack() as opened:
        opened.enter_context(closing(directory.lock()))
        store = DuckDBStore(
            directory.events_file,
            memory_limit=settings.memory_limit,
            threads=settings.threads,
            query_timeout=settings.query_timeout,
            max_waiting=settings.max_waiting_bytes,
            on_commit=on_commit,
        )
        opened.callback(store.close)
        opened.enter_context(_controlled(directory.control_socket, store))
        jobs = opened.enter_context(closing(Jobs(JobFiles(directory.jobs_directory))))
        yield Backing(store, ProjectFile(directory.projects_file), jobs, directory.path)


@contextmanager
def _controlled(path: Path, store: DuckDBStore) -> Iterator[None]:
    """Let backups be made, where the file system has sockets."""
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
