"""``connect-logging key …``: keys to give away, made where the master key is; no server is asked."""

from __future__ import annotations

import click

from . import security
from ._choosing import Choice, filter_options, read_object
from ._connecting import sealing_options
from ._where import all_of


@click.group()
def key() -> None:
    """Filtered keys, which carry their own rights."""


@key.command()
@click.option("--query", "can_query", is_flag=True, help="It may ask questions, of events that meet its conditions.")
@click.option("--push", "can_push", is_flag=True, help="It may push events.")
@filter_options
@click.option("--filters", metavar="JSON", help="A filter in JSON, which must hold as well.")
@click.option("--legacy", is_flag=True, help="The form that the SDKs of Connect write, which is not authenticated.")
@sealing_options
def filtered(
    can_query: bool,
    can_push: bool,
    choice: Choice,
    filters: str | None,
    legacy: bool,
    project_id: str,
    master_key: str,
) -> None:
    """Make a key with some rights and conditions, and print it.

    Every question that is asked with it is narrowed to events that meet the conditions. New keys of the project end it.

    \b
    Example:
      connect-logging key filtered --query --where customer.country=AU
    """
    if not can_query and not can_push:
        raise click.UsageError("what may it do? --query, --push, or both")
    narrowed = all_of(choice.filters, read_object("--filters", filters) or {}).document
    if narrowed and not can_query:
        raise click.UsageError("conditions are for questions: add --query, or leave them out")
    definition = {"filters": narrowed, "canQuery": can_query, "canPush": can_push}
    if legacy:
        click.echo(security.encrypt_filtered_key(definition, master_key))
    else:
        click.echo(security.seal_filtered_key(definition, master_key, project_id))
