"""``connect-logging backup``: a copy of a server's data, also while it serves."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ._console import PathName, Problem, amount, json_option, print_json
from ._placing import place_options

if TYPE_CHECKING:
    from .server.settings import Place


@click.command()
@place_options
@click.option("--to", "target", required=True, type=PathName(), help="A new directory for the copy.")
@json_option
def backup(place: Place, target: Path, as_json: bool) -> None:
    """Copy a data directory, also while a server uses it, into one that can be served.

    The server goes on taking events. What it had answered with 200 when the copy began is in it.
    """
    from .server.backup import back_up
    from .server.data_directory import DataDirectory

    if not isinstance(place, Path):
        raise Problem("a data directory can be copied like this; of what is in ClickHouse, ClickHouse makes backups")
    os.umask(0o077)  # DuckDB makes its files with the mode that the process gives
    columns = (TextColumn("copying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task("copying", total=None)
        made = back_up(
            DataDirectory(place), target, lambda done, total: shown.update(task, completed=done, total=total)
        )
    if as_json:
        print_json({"path": str(made.path), "events": made.events, "bytes": made.bytes})
    else:
        click.echo(f"{made.path}: {amount(made.events, 'event')}. To serve it:")
        click.echo(f"connect-logging serve --data {shlex.quote(str(target))}")
