"""Which project a command is for, and as whom; and the client that all commands ask through.

What a command is not told by its options is looked for in the variables of the environment, then in a profile; see
:mod:`._profiles`.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeVar

import click

from ._console import Problem, Unfinished, busy, naming, plain
from ._notices import LOGGER
from ._profiles import ENTRIES, config_path, with_profile
from ._settings import ENVIRONMENT, LONGEST, Connection
from .client import ConnectClient
from .exceptions import ConnectError, RequestError, UnavailableError

PATIENCE: Final = 30.0
"""Seconds that a command tries for, when nothing else is said."""

NOBODY: Final = Connection("-", "-", "http://127.0.0.1")
"""For a command that asks nobody after all."""

_AT_ONCE: Final = 2.0
"""Seconds for what would only help: the names of the collections, while somebody types."""
_WORDS: Final = {
    "project_id": "The project's id.",
    "api_key": "A key of the project; better in the variable, as other users can see it here.",
    "master_key": "The project's master key; better in the variable, as other users can see it here.",
    "base_url": "Address of the server.",
    "profile": "A profile of the configuration file, which goes before the environment.",
}
_SILENT: Final = logging.NullHandler()
_Command = TypeVar("_Command", bound=Callable[..., Any])


def connection_options(command: _Command) -> _Command:
    """The command is passed its ``connection``."""
    return _connected(command, "api_key")


def asking_options(command: _Command) -> _Command:
    """The command is passed its ``connection``, or with its flag ``--show`` that to :data:`NOBODY`."""
    return _connected(command, "api_key", but_for="show")


def master_options(command: _Command) -> _Command:
    """The command is passed its ``connection``, with the master key."""
    return _connected(command, "master_key")


def sealing_options(command: _Command) -> _Command:
    """The command is passed ``project_id`` and ``master_key``: all it takes to make keys."""

    @functools.wraps(command)
    def found(*arguments: Any, profile: str | None, project_id: str | None, master_key: str | None, **more: Any) -> Any:
        return command(*arguments, **find({"project_id": project_id, "master_key": master_key}, profile), **more)

    return _options(found, ("project_id", "master_key", "profile"))  # type: ignore[return-value]


class Number(click.FloatRange):
    """Finite, also where there is no upper bound: comparisons with NaN are all false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


def timeout_option(words: str) -> Callable[[_Command], _Command]:
    """``timeout``, in seconds."""
    seconds = Number(0.001, LONGEST)
    return click.option("--timeout", default=PATIENCE, show_default=True, type=seconds, help=words)


def sending_options(command: _Command) -> _Command:
    """The command is passed its ``connection``, and for how long to try: ``timeout``."""
    return connection_options(timeout_option("Stop when nothing has got through for so many seconds.")(command))


def _connected(command: _Command, key: str, but_for: str = "") -> _Command:
    """``but_for``: the flag with which the command needs no connection, and does without all that is said of one."""
    names = ("project_id", key, "base_url")

    @functools.wraps(command)
    def connected(*arguments: Any, profile: str | None, **options: Any) -> Any:
        said = {name: options.pop(name) for name in names}
        connection = NOBODY if options.get(but_for) else connect(said, profile)
        return command(*arguments, connection=connection, **options)

    return _options(connected, (*names, "profile"))  # type: ignore[return-value]


def _options(command: _Command, names: Sequence[str]) -> _Command:
    for name in reversed(names):
        words = _WORDS[name] + (f"  [default: {ENTRIES[name]}]" if name in ENTRIES else "")
        command = click.option(_option(name), help=words)(command)
    return command


def connect(options: Mapping[str, str | None], profile: str | None) -> Connection:
    """The connection of these options, which are in the order of :data:`._settings.ENVIRONMENT`, one being a key.

    Raises as :func:`find` does.
    """
    found = find(options, profile)
    names = [_name(entry, value, options) for entry, value in found.items()]
    project_id, key, base_url = found.values()
    with naming(dict(zip(ENVIRONMENT, names, strict=True))):
        return Connection.from_options(project_id, key, base_url, {})


def _name(entry: str, value: str, options: Mapping[str, str | None]) -> str:
    """What the user has written before ``value``: an option, a variable, or the entry of a profile."""
    if options[entry]:
        return _option(entry)
    return ENTRIES[entry] if value == os.environ.get(ENTRIES[entry]) else entry


def _option(entry: str) -> str:
    return f"--{entry.replace('_', '-')}"


def find(options: Mapping[str, str | None], profile: str | None) -> dict[str, str]:
    """``options``, with what environment and profile say of those that are None.

    A master key that is nowhere is asked for on a terminal. Raises ConfigurationError, and Problem for what is missing.
    """
    environ = with_profile(os.environ, profile)
    found = {name: value or environ.get(ENTRIES[name], "") for name, value in options.items()}
    if options.get("master_key"):
        click.echo(f"Other users can see --master-key while this runs: rather set {ENTRIES['master_key']}", err=True)
    elif found.get("master_key") == "" and sys.stdin.isatty():
        found["master_key"] = click.prompt("Master key", hide_input=True, err=True)
    if missing := [name for name, value in found.items() if not value]:
        raise Problem(_missing(missing))
    return found


def _missing(entries: list[str]) -> str:
    named = ", ".join(map(_option, entries))
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


def tell_if_absent(client: ConnectClient, collection: str) -> None:
    """Say on standard error that there is no such collection, where an answer has nothing of it.

    Nothing is said when it cannot be known at once: a filtered key may not ask.
    """
    try:
        client.collection(collection, _AT_ONCE)
    except RequestError as error:
        if error.http_status == 404 and "no collection" in str(error):  # a proxy may have a 404 of its own
            hint = "'connect-logging collections' shows those that there are"
            click.echo(plain(f"there is no collection {collection!r}: {hint}", 1_000), err=True)


def complete_collection(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The project's collections; none when they cannot be had at once."""
    given = {name: context.params.get(name) for name in ("project_id", "api_key", "base_url")}
    try:
        with asking(connect(given, context.params.get("profile"))) as client:
            names = [each.name for each in client.collections(_AT_ONCE)]
    except (ConnectError, click.ClickException):
        return []
    return [name for name in names if name.startswith(incomplete)]


collection_argument: Final = click.argument("collection", shell_complete=complete_collection)
