"""Where a server keeps what it keeps, for the commands that need it: ``--data DIR``, or ``--store ADDRESS``."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from ._console import PathName, naming

if TYPE_CHECKING:
    from .server.settings import Place
    from .server.stores.clickhouse_address import ClickHouseAddress

STORE: Final = "CONNECT_STORE"
PASSWORD: Final = "CONNECT_CLICKHOUSE_PASSWORD"  # noqa: S105 - where it is looked for

_Command = TypeVar("_Command", bound=Callable[..., Any])


_data_option: Final = click.option(
    "--data", type=PathName(), help="The directory that holds the server's events and keys."
)
_store_option: Final = click.option(
    "--store",
    metavar="ADDRESS",
    envvar=STORE,
    help=f"A ClickHouse that holds them instead: clickhouse://user@host:8123/database?cluster=name  [default: {STORE}]",
)


def place_options(command: _Command) -> _Command:
    """The command is passed its ``place``."""

    @functools.wraps(command)
    def placed(*arguments: Any, data: Path | None, store: str | None, **more: Any) -> Any:
        return command(*arguments, place=_place(data, store), **more)

    return _data_option(_store_option(placed))  # type: ignore[return-value]


def _place(data: Path | None, store: str | None) -> Place:
    """``--data`` goes before the variable, as who says it means it. Raises UsageError, Problem."""
    if data is not None and store and is_said("store"):
        raise click.UsageError("--data and --store are two places: choose one")
    if data is not None:
        return data
    if not store:
        raise click.UsageError(f"--data is missing, the server's directory; or else --store, or the variable {STORE}")
    return read_store(store, "--store", is_said=is_said("store"))


def read_store(text: str, option: str, *, is_said: bool) -> ClickHouseAddress:
    """The address in ``text``. ``is_said``: in the option itself, where others see it. Raises Problem."""
    from .server.stores.clickhouse_address import parse_address

    with naming({"store": option if is_said else STORE}):
        if is_said and parse_address(text).password:
            click.echo(f"Other users can see the password in {option} while this runs: rather set {PASSWORD}", err=True)
        return parse_address(text, os.environ.get(PASSWORD))


def is_said(name: str) -> bool:
    """Whether an option of the running command stands in its command line."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def as_option(place: Place) -> str:
    """A place as a shell takes it, without a password."""
    return f"{'--data' if isinstance(place, Path) else '--store'} {shlex.quote(str(place))}"
