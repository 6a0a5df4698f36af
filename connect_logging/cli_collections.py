"""``connect-logging collections`` and ``delete``: what a project holds, shown and deleted."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from ._connecting import asking, collection_argument, complete_collection, connection_options, master_options, waiting
from ._console import Problem, amount, json_option, plain, print_json, print_table, say
from ._settings import Connection
from .responses import Collection


@click.command()
@click.argument("name", metavar="[COLLECTION]", required=False, shell_complete=complete_collection)
@json_option
@connection_options
def collections(name: str | None, as_json: bool, connection: Connection) -> None:
    """Show the project's collections, or one of them.

    Of one the properties of its events are shown as well.
    """
    with asking(connection) as client, waiting(connection):
        found = client.collections() if name is None else [client.collection(name)]
    if as_json:
        documents = [_document(each) for each in found]
        print_json(documents if name is None else {**documents[0], "properties": _properties(found[0])})
        return
    if not found:
        say("there is no collection yet: 'connect-logging push COLLECTION EVENT' begins one")
        return
    columns = ("collection", "events", "bytes", "first event (UTC)", "last event (UTC)")
    print_table(columns, [(each.name, each.events, each.bytes, *_times(each)) for each in found])
    if name is not None:
        print_table(("property", "types"), [(path, ", ".join(types)) for path, types in found[0].properties.items()])


@click.command()
@collection_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@master_options
def delete(collection: str, yes: bool, connection: Connection) -> None:
    """Delete a collection with all its events, for good. Needs the master key."""
    if not yes and not sys.stdin.isatty():
        raise Problem(f"nobody is there to be asked: add --yes to delete {plain(collection)}")
    with asking(connection) as client:
        if not yes:
            with waiting(connection):
                events = client.collection(collection).events
            question = f"Delete {plain(collection)} with {amount(events, 'event')} at {connection.base_url}, for good?"
            click.confirm(question, abort=True, err=True)
        with waiting(connection):
            client.delete_collection(collection)
    say(f"{collection} is deleted")


def _document(shown: Collection) -> dict[str, Any]:
    first, last = (each and each.isoformat() for each in (shown.first_event, shown.last_event))
    return {
        "name": shown.name,
        "events": shown.events,
        "bytes": shown.bytes,
        "firstEvent": first,
        "lastEvent": last,
    }


def _properties(shown: Collection) -> list[dict[str, Any]]:
    return [{"name": path, "types": list(types)} for path, types in shown.properties.items()]


def _times(shown: Collection) -> tuple[str, str]:
    return _moment(shown.first_event), _moment(shown.last_event)


def _moment(time: datetime | None) -> str:
    return "" if time is None else time.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds")
