"""``connect-logging project …``: projects, their keys and settings. Running servers heed each change."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ._console import DEFAULT_PORT, Problem, json_option, print_json
from ._placing import place_options
from ._settings import ENVIRONMENT, MASTER_KEY

if TYPE_CHECKING:
    from .server.projects import Project, Projects
    from .server.settings import Place

_project_option = click.option(
    "--project", "project_id", help="Its id, 24 hex digits; may be left out when there is one project."
)
_KEYS = {
    "push": "send events",
    "query": "ask questions",
    "pushQuery": "both",
    "master": "everything; makes filtered keys",
}
"""A project's keys, and what each may do."""


@click.group()
def project() -> None:
    """Projects and their keys; also while a server runs."""


@project.command("list")
@place_options
@json_option
def list_projects(place: Place, as_json: bool) -> None:
    """Show all projects with their settings, oldest first."""
    with _projects(place) as projects:
        found = projects.list()
    if as_json:
        print_json([_described(each) for each in found])
    else:
        _print_settings(found)


@project.command()
@place_options
@json_option
def create(place: Place, as_json: bool) -> None:
    """Make a project with its four keys, and show them."""
    with _projects(place, create=True) as projects:
        _show(projects.create(), as_json)


@project.command()
@place_options
@_project_option
@json_option
@click.option(
    "--env",
    "env_key",
    type=click.Choice(_KEYS),
    help="Print lines for a shell that set CONNECT_PROJECT_ID, CONNECT_API_KEY to this key, and CONNECT_BASE_URL; "
    "with master also CONNECT_MASTER_KEY.",
)
@click.option(
    "--url",
    default=f"http://127.0.0.1:{DEFAULT_PORT}",
    show_default=True,
    help="The server's address, for --env.",
)
def keys(place: Place, project_id: str | None, as_json: bool, env_key: str | None, url: str) -> None:
    """Show a project's keys.

    \b
    To set the variables that a program logs with, in a shell:
      eval "$(connect-logging project keys --data DIR --env push)"
    """
    if env_key and as_json:
        raise click.UsageError("--env and --json are two forms of output: choose one")
    with _projects(place) as projects:
        chosen = _choose(projects, project_id)
    if not env_key:
        _show(chosen, as_json)
        return
    variables = (chosen.id, _named(chosen)[env_key], url)
    named = dict(zip(ENVIRONMENT.values(), variables, strict=True))
    if env_key == "master":
        named[MASTER_KEY] = chosen.keys.master
    for variable, value in named.items():
        click.echo(f"export {variable}={shlex.quote(value)}")


@project.command("reset-keys")
@place_options
@_project_option
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset_keys(place: Place, project_id: str | None, as_json: bool, yes: bool) -> None:
    """Replace all four keys of a project, and show the new ones.

    The old keys and every filtered key stop working, also in running servers: at once, with --store within a second.
    """
    with _projects(place) as projects:
        chosen = _choose(projects, project_id)
        if not yes:
            click.confirm(f"Replace all keys of project {chosen.id}?", abort=True, err=True)
        _show(projects.reset_keys(chosen.id), as_json)


@project.command("set")
@place_options
@_project_option
@json_option
@click.option(
    "--legacy-filtered-keys",
    type=bool,
    metavar="true|false",
    required=True,
    help="Whether filtered keys of the old form are taken, which is not authenticated.",
)
def change_settings(place: Place, project_id: str | None, as_json: bool, legacy_filtered_keys: bool) -> None:
    """Change the settings of a project, and show them."""
    with _projects(place) as projects:
        changed = projects.configure(_choose(projects, project_id).id, legacy_filtered_keys=legacy_filtered_keys)
    if as_json:
        print_json(_described(changed))
    else:
        _print_settings([changed])


def _projects(place: Place, *, create: bool = False) -> AbstractContextManager[Projects]:
    from .server.backing import projects_at

    return projects_at(place, create=create)


def _choose(projects: Projects, project_id: str | None) -> Project:
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


def _described(shown: Project) -> dict[str, Any]:
    return {
        "projectId": shown.id,
        "created": shown.created.isoformat(),
        "legacyFilteredKeys": shown.legacy_filtered_keys,
    }


def _print_settings(projects: Iterable[Project]) -> None:
    table = Table("project", "created (UTC)", "legacy filtered keys")
    for each in projects:
        table.add_row(each.id, f"{each.created:%Y-%m-%d %H:%M:%S}", str(each.legacy_filtered_keys).lower())
    Console().print(table)


def _show(shown: Project, as_json: bool) -> None:
    named = _named(shown)
    if as_json:
        print_json({"projectId": shown.id, **named})
        return
    table = Table(title=f"project {shown.id}", title_justify="left")
    table.add_column("key")
    table.add_column("value", no_wrap=True, min_width=32)
    table.add_column("may")
    for name, may in _KEYS.items():
        table.add_row(name, named[name], may)
    Console().print(table)
