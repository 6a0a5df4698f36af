"""Which project a command is for, and as whom; and the client that all commands ask through.

What a command is not told by its options is looked for in the variables of the environment, then in a profile; see
:mod:`._profiles`.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeVar

import click

from ._console import Problem, Unfinished, busy
from ._notices import LOGGER
from ._profiles import ENTRIES, config_path, with_profile
from ._settings import Connection
from .client import ConnectClient
from .exceptions import ConnectError, RequestError, UnavailableError

PATIENCE: Final = 30.0
"""Seconds that a command tries for, when nothing else is said."""

_COMPLETION_PATIENCE: Final = 2.0
"""Seconds for the names of the collections, while somebody types."""
_SILENT: Final = logging.NullHandler()
_Command = TypeVar("_Command", bound=Callable[..., Any])


def connection_options(command: _Command) -> _Command:
    """The command is passed its ``connection``."""
    return _connected(command, "api_key", "A key of the project")


def master_options(command: _Command) -> _Command:
    """The command is passed its ``connection``, with the master key."""
    return _connected(command, "master_key", "The project's master key")


def timeout_option(words: str) -> Callable[[_Command], _Command]:
    """``timeout``, in seconds."""
    return click.option("--timeout", default=PATIENCE, show_default=True, type=click.FloatRange(0.001), help=words)


def sending_options(command: _Command) -> _Command:
    """The command is passed its ``connection``, and for how long to try: ``timeout``."""
    return connection_options(timeout_option("Stop when nothing has got through for so many seconds.")(command))


def _connected(command: _Command, key: str, words: str) -> _Command:
    @functools.wraps(command)
    def connected(
        *arguments: Any, project_id: str | None, base_url: str | None, profile: str | None, **options: Any
    ) -> Any:
        connection = connect(key, options.pop(key), project_id, base_url, profile)
        return command(*arguments, connection=connection, **options)

    decorated: Any = connected
    for option, help_text in (
        ("profile", "A profile of the configuration file, which goes before the environment."),
        ("base_url", f"Address of the server.  [default: {ENTRIES['base_url']}]"),
        (key, f"{words}; better in the variable, as other users can see it here.  [default: {ENTRIES[key]}]"),
        ("project_id", f"The project's id.  [default: {ENTRIES['project_id']}]"),
    ):
        decorated = click.option(f"--{option.replace('_', '-')}", help=help_text)(decorated)
    return decorated  # type: ignore[no-any-return]


def connect(
    key: str, given: str | None, project_id: str | None, base_url: str | None, profile: str | None
) -> Connection:
    """The connection that options, environment and profile say. ``key``: which of the keys it has.

    A master key that is nowhere else is asked for on a terminal. Raises ConfigurationError, and Problem for what is
    missing.
    """
    environ = with_profile(os.environ, profile)
    options = {"project_id": project_id, key: given, "base_url": base_url}
    found = {option: value or environ.get(ENTRIES[option]) for option, value in options.items()}
    if key == "master_key" and given:
        click.echo(f"Other users can see --master-key while this runs: rather set {ENTRIES[key]}", err=True)
    elif key == "master_key" and not found[key] and sys.stdin.isatty():
        found[key] = click.prompt("Master key", hide_input=True, err=True)
    if missing := [option for option, value in found.items() if not value]:
        raise Problem(_missing(missing))
    return Connection.from_options(found["project_id"], found[key], found["base_url"], {})


def _missing(entries: list[str]) -> str:
    named = ", ".join(f"--{entry.replace('_', '-')}" for entry in entries)
    variables = ", ".join(ENTRIES[entry] for entry in entries)
    role = "master" if "master_key" in entries else "pushQuery"
    return (
        f"{named} {'is' if len(entries) == 1 else 'are'} missing: set {variables},\n"
        f"or write {', '.join(entries)} into {config_path(os.environ)}.\n"
        f"""For a server of your own: eval "$(connect-logging project keys --data DIR --env {role})\""""
    )


@contextmanager
def asking(connection: Connection, timeout: float = PATIENCE) -> Iterator[ConnectClient]:
    """A client for one command. What the server refuses, or does not answer, is told with its address.

    ``timeout``: seconds for each question; of an outage, for what is pushed.
    """
    client = ConnectClient(
        connection.project_id,
        connection.api_key,
        connection.base_url,
        read_timeout=timeout,
        retry_for=timeout,
        exit_timeout=0.0,
    )
    logging.getLogger(LOGGER).addHandler(_SILENT)  # what it would warn of, the command tells
    try:
        with client:
            yield client
    except UnavailableError as error:
        hint = "is the server running there?" if error.http_status is None else "try again later"
        raise Unfinished(f"{connection.base_url}: {error}: {hint}") from None
    except RequestError as error:
        raise Problem(f"{connection.base_url}: {error}") from None
    finally:
        logging.getLogger(LOGGER).removeHandler(_SILENT)


def waiting(connection: Connection) -> AbstractContextManager[object]:
    """Shows on a terminal who is being waited for."""
    return busy(f"asking {connection.base_url}, Ctrl-C stops")


def complete_collection(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The project's collections; none when they cannot be had at once."""
    given: dict[str, Any] = {name: context.params.get(name) for name in ("project_id", "base_url", "profile")}
    try:
        connection = connect("api_key", context.params.get("api_key"), **given)
        with asking(connection) as client:
            names = [each.name for each in client.collections(_COMPLETION_PATIENCE)]
    except (ConnectError, click.ClickException):
        return []
    return [name for name in names if name.startswith(incomplete)]


collection_argument: Final = click.argument("collection", shell_complete=complete_collection)
