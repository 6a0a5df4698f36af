"""``connect-logging copy``: what one server has kept, moved to another place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ._console import PathName, Problem, Unfinished, amount, json_option, plain, print_json, print_table, say
from ._placing import is_said, read_store

if TYPE_CHECKING:
    from .server.copying import Copied, Progress
    from .server.projects import Project, Projects
    from .server.settings import Place
    from .server.stores.base import Store

_QUERY_TIMEOUT: Final = 3_600.0
"""Seconds for one count of a slice."""
_AGAIN: Final = "Start it again, and what is there is not sent again."
_LINE_EVERY: Final = 100_000
"""Events between two lines of what is no terminal."""


@click.command()
@click.option(
    "--from",
    "source",
    required=True,
    type=PathName(),
    help="The data directory of a server that is stopped, or a backup of one.",
)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="ADDRESS|DIR",
    help="clickhouse://user@host:8123/database?cluster=name, or a data directory.",
)
@click.option("--project", "project_ids", multiple=True, help="The id of a project; may be given again; else all.")
@json_option
def copy(source: Path, target: str, project_ids: tuple[str, ...], as_json: bool) -> None:
    """Copy projects with their keys and events, and compare.

    When it was interrupted, or the source has grown, start it again: what is there is not sent again. The exit code is
    1 when source and target do not hold the same at the end.

    \b
    Example:
      connect-logging copy --from ./events --to 'clickhouse://events@db1/events?cluster=main'
    """
    from .server.copying import copy_events, copy_project
    from .server.stores.base import StoreError

    result = _Result([], [], [])
    try:
        with _opened(source, _place(target, source), project_ids) as (chosen, old, new), _shown() as show:
            for project in chosen:
                result.projects.append(project.id)
                if not copy_project(project, new.projects):
                    result.others.append(project.id)
                result.copied.extend(copy_events(project.id, old.store, new.store, show))
    except StoreError as error:
        raise Unfinished(f"{error}. {_AGAIN}") from None
    except KeyboardInterrupt:
        click.echo(f"Stopped. {_AGAIN}", err=True)
        raise
    _tell(result, as_json)
    sys.exit(0 if result.is_same else 1)


class _Result(NamedTuple):
    """``others``: those of the ``projects`` that are in the target with other keys or settings."""

    projects: list[str]
    others: list[str]
    copied: list[Copied]

    @property
    def is_same(self) -> bool:
        return not self.others and all(each.is_same for each in self.copied)


class _Kept(NamedTuple):
    store: Store
    projects: Projects


@contextmanager
def _opened(
    source: Path, target: Place, project_ids: Sequence[str]
) -> Iterator[tuple[Sequence[Project], _Kept, _Kept]]:
    """The projects to be copied, from where, and to where, which is made only when there are these projects."""
    from .server.backing import projects_at, store_of
    from .server.copying import choose
    from .server.data_directory import DataDirectory, InUseError
    from .server.settings import Settings

    os.umask(0o077)  # DuckDB makes its files with the mode that the process gives
    with ExitStack() as opened:

        def open_one(place: Place, *, create: bool) -> _Kept:
            store = opened.enter_context(store_of(Settings(place, query_timeout=_QUERY_TIMEOUT)))
            return _Kept(store, opened.enter_context(projects_at(place, create=create)))

        DataDirectory(source)  # is one already
        try:
            old = open_one(source, create=False)
        except InUseError as error:
            raise Problem(f"{error}: stop it, or copy from a backup ('connect-logging backup')") from None
        chosen = choose(old.projects, project_ids)
        yield chosen, old, open_one(target, create=True)


def _place(target: str, source: Path) -> Place:
    if "://" in target:
        return read_store(target, "--to", is_said=is_said("target"))
    if not target:
        raise click.UsageError("--to: a path must not be empty")
    if Path(target).resolve() == source.resolve():
        raise Problem("--from and --to are the same directory")
    return Path(target)


@contextmanager
def _shown() -> Iterator[Callable[[Progress], object]]:
    """A bar on a terminal, elsewhere a line now and then."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("copying", total=None)
        told = 0

        def show(progress: Progress) -> None:
            nonlocal told
            bar.update(task, description=plain(progress.collection), completed=progress.done, total=progress.total)
            if not console.is_terminal and (progress.done >= progress.total or progress.done - told >= _LINE_EVERY):
                told = progress.done
                where = plain(f"{progress.project} {progress.collection}")
                click.echo(f"{where}: {progress.done:,} of {amount(progress.total, 'event')}", err=True)
            if progress.done >= progress.total:
                told = 0

        yield show


def _tell(result: _Result, as_json: bool) -> None:
    for project in result.others:
        click.echo(f"project {project} is there already with other keys or settings, which stay as they are", err=True)
    collections = [*map(_described, result.copied)]
    if as_json:
        print_json({"same": result.is_same, "projects": result.projects, "collections": collections})
        return
    if result.copied:
        columns = ("project", "collection", "events", "in the target", "sent now", "checksums")
        print_table(columns, [_row(each) for each in result.copied])
    say(f"{amount(len(result.projects), 'project')}, {amount(len(collections), 'collection')}")
    if not result.is_same:
        click.echo("source and target do NOT hold the same", err=True)


def _row(copied: Copied) -> tuple[object, ...]:
    source, target = copied.source, copied.target
    is_equal = "equal" if source.digest == target.digest else "DIFFERENT"
    return copied.project, copied.collection, source.events, target.events, copied.sent, is_equal


def _described(copied: Copied) -> dict[str, Any]:
    return {
        "projectId": copied.project,
        "collection": copied.collection,
        "source": copied.source._asdict(),
        "target": copied.target._asdict(),
        "sent": copied.sent,
    }
