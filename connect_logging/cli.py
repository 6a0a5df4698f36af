"""The ``connect-logging`` command. What a user can do wrong is answered by one or two lines and exit code 2."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ._console import Problem
from ._console import json_option as _json_option
from ._console import print_json as _print_json
from ._settings import ENVIRONMENT
from .cli_letters import dead_letters
from .cli_spool import spool
from .exceptions import ConnectError

if TYPE_CHECKING:
    from .server.projects import Project, ProjectFile

_data_option = click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="The directory that holds the server's events and keys.",
)
_project_option = click.option(
    "--project", "project_id", help="Its id, 24 hex digits; may be left out when there is one project."
)
_DEFAULT_PORT = 8010
_KEYS = {
    "push": "send events",
    "query": "ask questions",
    "pushQuery": "both",
    "master": "everything; makes filtered keys",
}
"""A project's keys, and what each may do."""


class _Commands(click.Group):
    """Tells what went wrong in the words of the error; anything else is a fault of ours and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith(__package__):
                raise
            raise Problem(f"{error.name} is missing. The server needs: pip install 'connect-logging[server]'") from None
        except ConnectError as error:
            raise Problem(str(error)) from None
        except BrokenPipeError:
            raise  # who reads our output has had enough; click ends quietly
        except OSError as error:
            where = error.filename if isinstance(error.filename, str) else "the data directory"
            raise Problem(f"{where}: {error.strerror}") from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="connect-logging")
def main() -> None:
    """Log records as analytics events, and a place to ask questions of them.

    \b
    To begin:
      connect-logging serve --data ./events             a place for events on this computer
      connect-logging project keys --data ./events      the keys your program logs with
    \b
    To give a program a key, in a shell:
      eval "$(connect-logging project keys --data ./events --env push)"
    """


main.add_command(spool)
main.add_command(dead_letters)


@main.command()
@_data_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=_DEFAULT_PORT, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--memory", default="1GB", show_default=True, help="Memory for the database, such as 512MB.")
@click.option("--threads", default=2, show_default=True, help="Threads for the database.")
@click.option("--query-timeout", default=30.0, show_default=True, help="Seconds a query may take.")
def serve(data: Path, host: str, port: int, memory: str, threads: int, query_timeout: float) -> None:
    """Run a server that takes events and answers queries, until Ctrl-C.

    The first start makes the data directory and a project.
    """
    from .server.serve import serve as run
    from .server.settings import Settings

    settings = Settings(data, host, port, memory_limit=memory, threads=threads, query_timeout=query_timeout)
    made: list[Project] = []

    def ready(url: str) -> None:
        for project in made:
            click.echo(_welcome(project.id, data, url))
        click.echo(f"Serving on {url}")

    run(settings, on_ready=ready, on_first_project=made.append)


def _welcome(project_id: str, data: Path, url: str) -> str:
    """How to use a new project. No key is in it: what a server prints may end up in a log."""
    return f"""\
Made project {project_id}. To see its keys:

    connect-logging project keys --data {shlex.quote(str(data))}

Your program takes this address, the project and its push key as options of ConnectHandler, or from
the variables CONNECT_BASE_URL, CONNECT_PROJECT_ID and CONNECT_API_KEY. To set these in a shell:

    eval "$(connect-logging project keys --data {shlex.quote(str(data))} --env push --url {url})"
"""


@main.command()
@click.option("--requests", default=5_000, show_default=True, type=click.IntRange(1), help="Requests to a web shop.")
@click.option("--keep", is_flag=True, help="Keep the data directory and the logs, and say where they are.")
def demo(requests: int, keep: bool) -> None:
    """See it work: a server, a web shop that logs, customers, and a crash.

    The server is killed once while the shop is busy. At the end its answers stand beside what really happened, and
    the exit code is 1 when they differ.
    """
    examples = Path(__file__).parent.parent / "examples"
    if not (examples / "demo").is_dir():
        raise Problem("the demo comes with the source code, not with the package: run 'make demo' in a clone")
    sys.path.insert(0, str(examples))
    sys.exit(import_module("demo").run(requests, keep))


@main.group()
def project() -> None:
    """Projects and their keys; also while a server runs."""


@project.command("list")
@_data_option
@_json_option
def list_projects(data: Path, as_json: bool) -> None:
    """Show all projects, oldest first."""
    projects = _projects(data).list()
    if as_json:
        _print_json([{"projectId": each.id, "created": each.created.isoformat()} for each in projects])
        return
    table = Table("project", "created (UTC)")
    for each in projects:
        table.add_row(each.id, f"{each.created:%Y-%m-%d %H:%M:%S}")
    Console().print(table)


@project.command()
@_data_option
@_json_option
def create(data: Path, as_json: bool) -> None:
    """Make a project with its four keys, and show them."""
    _show(_projects(data, create=True).create(), as_json)


@project.command()
@_data_option
@_project_option
@_json_option
@click.option(
    "--env",
    "env_key",
    type=click.Choice(_KEYS),
    help="Print lines for a shell that set CONNECT_PROJECT_ID, CONNECT_API_KEY to this key, and CONNECT_BASE_URL.",
)
@click.option(
    "--url",
    default=f"http://127.0.0.1:{_DEFAULT_PORT}",
    show_default=True,
    help="The server's address, for --env.",
)
def keys(data: Path, project_id: str | None, as_json: bool, env_key: str | None, url: str) -> None:
    """Show a project's keys.

    \b
    To set the variables that a program logs with, in a shell:
      eval "$(connect-logging project keys --data DIR --env push)"
    """
    if env_key and as_json:
        raise click.UsageError("--env and --json are two forms of output: choose one")
    chosen = _choose(_projects(data), project_id)
    if not env_key:
        _show(chosen, as_json)
        return
    variables = (chosen.id, _named(chosen)[env_key], url)
    for variable, value in zip(ENVIRONMENT.values(), variables, strict=True):
        click.echo(f"export {variable}={shlex.quote(value)}")


@project.command("reset-keys")
@_data_option
@_project_option
@_json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset_keys(data: Path, project_id: str | None, as_json: bool, yes: bool) -> None:
    """Replace all four keys of a project, and show the new ones.

    The old keys and every filtered key stop working at once, also in a running server.
    """
    projects = _projects(data)
    chosen = _choose(projects, project_id)
    if not yes:
        click.confirm(f"Replace all keys of project {chosen.id}?", abort=True, err=True)
    _show(projects.reset_keys(chosen.id), as_json)


def _projects(data: Path, *, create: bool = False) -> ProjectFile:
    from .server.data_directory import DataDirectory
    from .server.projects import ProjectFile

    return ProjectFile(DataDirectory(data, create=create).projects_file)


def _choose(projects: ProjectFile, project_id: str | None) -> Project:
    """The project that is meant, which need not be said when there is one."""
    known = {each.id: each for each in projects.list()}
    if project_id is None:
        if len(known) == 1:
            return next(iter(known.values()))
        raise Problem(
            f"there are {len(known)} projects: say which with --project ({', '.join(known)})"
            if known
            else "there is no project yet: 'connect-logging serve' or 'connect-logging project create' makes one"
        )
    if project_id not in known:
        raise Problem(f"there is no project {project_id!r}: 'connect-logging project list' shows all")
    return known[project_id]


def _named(project: Project) -> dict[str, str]:
    keys = project.keys
    return dict(zip(_KEYS, (keys.push, keys.query, keys.push_query, keys.master), strict=True))


def _show(shown: Project, as_json: bool) -> None:
    named = _named(shown)
    if as_json:
        _print_json({"projectId": shown.id, **named})
        return
    table = Table(title=f"project {shown.id}", title_justify="left")
    table.add_column("key")
    table.add_column("value", no_wrap=True, min_width=32)
    table.add_column("may")
    for name, may in _KEYS.items():
        table.add_row(name, named[name], may)
    Console().print(table)


if __name__ == "__main__":
    main()
