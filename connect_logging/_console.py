"""What the commands share: mistakes in words, options, and text that is safe to print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ._settings import ENVIRONMENT

_Command = TypeVar("_Command", bound=Callable[..., Any])

DEFAULT_PORT: Final = 8010
"""Where a server listens, and is looked for, when nothing else is said."""

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
data_option: Final = click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="The directory that holds the server's events and keys.",
)


class Problem(click.ClickException):
    """A mistake that the user can mend; printed without a traceback."""

    exit_code = 2


def sending_options(command: _Command) -> _Command:
    """Where to push and as whom, by options or the environment; and for how long to try."""
    patience = "Stop when nothing has got through for so many seconds."
    seconds = click.FloatRange(0)
    command = click.option("--timeout", default=30.0, show_default=True, type=seconds, help=patience)(command)
    for option, words in (
        ("base_url", "Address of the server."),
        ("api_key", "A key that may push; better in the variable, as other users can see a command's options."),
        ("project_id", "The project's id."),
    ):
        named = f"--{option.replace('_', '-')}"
        command = click.option(named, help=f"{words}  [default: {ENVIRONMENT[option]}]")(command)
    return command


def print_json(document: Any) -> None:
    """One document, in one line."""
    click.echo(json.dumps(document))


def plain(text: object, most: int = 200) -> str:
    """``text`` in one line without anything that a terminal would obey, cut to ``most`` characters."""
    shown = str(text)
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


def amount(number: int, noun: str) -> str:
    """``1 event``, ``2,000 events``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
