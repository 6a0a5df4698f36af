"""What the commands share: mistakes in words, and text that is safe to print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import click

from .exceptions import ConfigurationError

DEFAULT_PORT: Final = 8010
"""Where a server listens, and is looked for, when nothing else is said."""

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")

_MOST_FAULTS: Final = 10
_LEAST_TEXT: Final = 12
"""Columns of a terminal for a text, at least, before it is folded further."""
_UNBOUNDED: Final = 100_000
"""Characters of a line, where no terminal is as wide as it is."""


class Problem(click.ClickException):
    """A mistake that the user can mend; printed without a traceback."""

    exit_code = 2


class PathName(click.Path):
    """A path. An empty one is the current directory to pathlib, and a slip of who wrote ``--data "$UNSET"``."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        if value == "":
            self.fail("a path must not be empty", param, ctx)
        return super().convert(value, param, ctx)


@contextmanager
def naming(options: Mapping[str, str]) -> Iterator[None]:
    """Say what is wrong with an option by the name that it has for the user. ``options``: that name, by ours."""
    try:
        yield
    except ConfigurationError as error:
        if error.option is None or error.option not in options:
            raise
        raise Problem(f"{options[error.option]} {error.reason}") from None


class Unfinished(Problem):
    """Not all of it could be done, through no fault of the user; the same again may succeed."""

    exit_code = 1


@contextmanager
def busy(words: str) -> Iterator[None]:
    """Shows on a terminal that something takes its time; elsewhere nothing."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(plain(words)):
            yield
    else:
        yield


@contextmanager
def progress(words: str, total: int | None) -> Iterator[Callable[[int, str], None]]:
    """A bar of bytes on a terminal, elsewhere nothing; it is told how many there are so far, and more in words.

    ``total``: bytes in all, None when nobody knows.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    end = () if total is None else (TimeRemainingColumn(),)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), *end)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(plain(words), total=total)
        yield lambda done, more: bar.update(task, completed=done, description=plain(f"{words}{more}"))


def print_json(document: Any) -> None:
    """One document, in one line."""
    click.echo(json.dumps(document))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows with a head, numbers to the right. What is no terminal gets each row in one line, however long.

    A terminal that has not the room for the columns beside each other gets them below each other.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    filled = [*rows]
    heads, cells = [plain(name) for name in columns], [[shown(value) for value in row] for row in filled]
    table, console = Table(), Console()
    needed = 1
    for at, head in enumerate(heads):
        numeric = all(_is_number(row[at]) for row in filled)
        widest = max(map(cell_len, (head, *(row[at] for row in cells))))
        least = widest if numeric else min(widest, _LEAST_TEXT)
        table.add_column(
            Text(head), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric, min_width=least
        )
        needed += least + 3
    if not console.is_terminal:
        console.width = _UNBOUNDED
    elif needed > console.width:
        _print_records(heads, cells)
        return
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | None) and not isinstance(value, bool)


def _print_records(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len, set_cell_size

    side = max(map(cell_len, heads))
    for row in cells:
        for head, cell in zip(heads, row, strict=True):
            click.echo(f"{set_cell_size(head, side)}  {cell}")
        click.echo()


def shown(value: object) -> str:
    """A value of JSON, or a text, in a cell of a table."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return f"{value:.12g}" if isinstance(value, float) else plain(value)


def open_streams() -> None:
    """See to it that standard input can be read, and that what is said can be written, in whatever encoding."""
    if sys.stdin is None:  # closed by who has started us
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain(text: object, most: int = 200) -> str:
    """``text`` in one line without anything that a terminal would obey, cut to ``most`` characters."""
    shown = str(text)
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


def amount(number: int, noun: str) -> str:
    """``1 event``, ``2,000 events``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def say(text: str) -> None:
    """A line of the result, on standard output."""
    click.echo(plain(text, 2_000))


class Faults:
    """What is wrong with single parts of the input: the first few are told at once, on standard error, all counted."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, place: str, reason: str) -> None:
        """One more."""
        self.count += 1
        if self.count <= _MOST_FAULTS:
            click.echo(plain(f"{place}: {reason}", 1_000), err=True)

    def tell_rest(self, whole: str = "") -> None:
        """How many there were, when they were not all told; ``whole``: in words."""
        if self.count > _MOST_FAULTS:
            click.echo(f"… {whole or amount(self.count, 'event')} in all", err=True)
