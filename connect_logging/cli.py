"""The ``connect-logging`` command. What a user can do wrong is answered by one or two lines and exit code 2."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ._console import DEFAULT_PORT, PathName, Problem, naming, open_streams
from ._placing import as_option, is_said, place_options
from .cli_backup import backup
from .cli_collections import collections, delete
from .cli_copy import copy
from .cli_keys import key
from .cli_letters import dead_letters
from .cli_projects import project
from .cli_push import push
from .cli_query import query
from .cli_spool import spool
from .cli_tail import tail
from .cli_transfer import export, import_events
from .exceptions import ConnectError

if TYPE_CHECKING:
    from .server.projects import Project
    from .server.serve import Addresses
    from .server.settings import Place

_EXTRAS: Final = {"clickhouse_connect": "clickhouse"}
"""What is installed by another extra than the server's."""
_INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it."""


class _Commands(click.Group):
    """Tells what went wrong in the words of the error; anything else is a fault of ours and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        open_streams()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        except click.Abort as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # at a question
                sys.exit(_INTERRUPTED)
            raise
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith(__package__):
                raise
            extra = _EXTRAS.get(error.name, "server")
            raise Problem(f"{error.name} is missing. It comes with: pip install 'connect-logging[{extra}]'") from None
        except ConnectError as error:
            raise Problem(str(error)) from None
        except BrokenPipeError:
            raise  # who reads our output has had enough; click ends quietly
        except OSError as error:
            where = f"{error.filename}: " if isinstance(error.filename, str) else ""
            raise Problem(f"{where}{error.strerror or error}") from None


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

    \b
    To push and to ask from here:
      eval "$(connect-logging project keys --data ./events --env pushQuery)"
      connect-logging push purchases '{"price": 34.95}'
      connect-logging query purchases --sum price
    """


for command in (
    push,
    query,
    tail,
    export,
    import_events,
    collections,
    delete,
    key,
    project,
    backup,
    copy,
    spool,
    dead_letters,
):
    main.add_command(command)


@main.command()
@place_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--memory", "memory_limit", default="1GB", show_default=True, help="Memory for the database, such as 512MB."
)
@click.option(
    "--retention",
    type=int,
    metavar="DAYS",
    help="Delete events so many days after their timestamp; else they are kept.",
)
@click.option("--threads", default=2, show_default=True, help="Threads for the database.")
@click.option(
    "--query-timeout", default=30.0, show_default=True, help="Seconds a query may take, and wait before that."
)
@click.option(
    "--queries",
    "concurrent_queries",
    default=4,
    show_default=True,
    help="Queries at a time, of which one project has one less; others wait.",
)
@click.option(
    "--stop-timeout", default=30, show_default=True, help="Seconds that requests have to finish when it is to stop."
)
@click.option("--max-connections", default=512, show_default=True, help="Connections at a time.")
@click.option("--client-timeout", default=20.0, show_default=True, help="Seconds a slow client is waited for.")
@click.option(
    "--failed-keys",
    "failed_keys_per_minute",
    default=60,
    show_default=True,
    help="Wrong keys a minute from one address; beyond that 429.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; may be given again.",
)
@click.option(
    "--s3-endpoint",
    "s3_endpoints",
    multiple=True,
    metavar="URL",
    help="Where S3 is spoken besides AWS, for imports and exports; may be given again.",
)
@click.option("--tls-cert", type=PathName(), help="Certificate chain, PEM: with it the server speaks TLS.")
@click.option("--tls-key", type=PathName(), help="The certificate's private key, PEM, not encrypted.")
@click.option("--metrics", metavar="HOST:PORT", help="Serve /metrics here, and not beside the other routes.")
@click.option("--access-log", metavar="PATH|-", help="Write a line of JSON for each request to a file, or to stderr.")
def serve(**options: Any) -> None:
    """Run a server that takes events and answers queries.

    It runs until Ctrl-C. The first start makes the data directory and a project.
    """
    from .server.serve import serve as run
    from .server.settings import Settings

    if not isinstance(options["place"], Path) and is_said("threads"):
        raise click.UsageError("--threads is for the database in --data; ClickHouse has settings of its own")
    with naming({str(each.name): each.opts[0] for each in click.get_current_context().command.params}):
        settings = Settings(**options)  # the parameters have the names of the settings
    made: list[Project] = []

    def ready(addresses: Addresses) -> None:
        for each in made:
            click.echo(_welcome(each.id, settings.place, addresses.base))
        if addresses.metrics:
            click.echo(f"Metrics on {addresses.metrics}")
        click.echo(f"Serving on {addresses.base}")

    run(settings, on_ready=ready, on_first_project=made.append)


def _welcome(project_id: str, place: Place, url: str) -> str:
    """How to use a new project. No key is in it: what a server prints may end up in a log."""
    return f"""\
Made project {project_id}. To see its keys:

    connect-logging project keys {as_option(place)}

Your program takes this address, the project and its push key as options of ConnectHandler, or from
the variables CONNECT_BASE_URL, CONNECT_PROJECT_ID and CONNECT_API_KEY. To set these in a shell:

    eval "$(connect-logging project keys {as_option(place)} --env push --url {url})"
"""


@main.command()
@click.option("--requests", default=5_000, show_default=True, type=click.IntRange(1), help="Requests to a web shop.")
@click.option("--keep", is_flag=True, help="Keep the data directory and the logs, and say where they are.")
def demo(requests: int, keep: bool) -> None:
    """See it work: a shop that logs, customers, and a crash.

    The server is killed once while the shop is busy. At the end its answers stand beside what really happened, and
    the exit code is 1 when they differ.
    """
    examples = Path(__file__).parent.parent / "examples"
    if not (examples / "demo").is_dir():
        raise Problem("the demo comes with the source code, not with the package: run 'make demo' in a clone")
    sys.path.insert(0, str(examples))
    sys.exit(import_module("demo").run(requests, keep))


if __name__ == "__main__":
    main()
