"""``connect-logging query``: a question in JSON or in options, in the words of the query builder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final, TypeVar

import click

from ._answers import FORMS, print_answer
from ._choosing import Choice, choice_options, in_options, read_object, tell_ignored
from ._connecting import asking, asking_options, collection_argument, tell_if_absent, timeout_option, waiting
from ._console import print_json
from ._select import Aggregate, Order, count, percentile
from ._settings import Connection
from ._terms import AGGREGATIONS, COUNT_COLUMN, INTERVALS

_Command = TypeVar("_Command", bound=Callable[..., Any])

_COLUMNS: Final = "connect_logging.columns"
"""Where the columns wait, in the order of the command line, until the command runs."""
_WORDS: Final = {
    "sum": "Column: the sum of a property.",
    "avg": "Column: its mean.",
    "min": "Column: the least of it.",
    "max": "Column: the greatest of it.",
    "median": "Column: its median.",
    "percentile": "Column: what P per cent do not exceed, as 95:price.",
    "distinct": "Column: how many different values there are.",
}


def _column_options(command: _Command) -> _Command:
    """``--count`` and the other aggregations; each column is named by itself or by NAME=."""
    decorated: Any = command
    for name in reversed([name for name in AGGREGATIONS if name != "count"]):
        metavar = "[NAME=]P:PROPERTY" if name == "percentile" else "[NAME=]PROPERTY"
        decorated = click.option(
            f"--{name}", multiple=True, metavar=metavar, callback=_add, expose_value=False, help=_WORDS[name]
        )(decorated)
    words = "Column: the number of events."
    return click.option("--count", is_flag=True, callback=_add, expose_value=False, help=words)(decorated)  # type: ignore[no-any-return]


def _add(context: click.Context, parameter: click.Parameter, given: Sequence[str] | bool) -> None:
    columns: dict[str, Aggregate] = context.meta.setdefault(_COLUMNS, {})
    texts = ["count"] * given if isinstance(given, bool) else given
    for text in texts:
        name, wanted = _column(str(parameter.name), text)
        if name in columns:
            raise click.BadParameter(
                f"there is a column {name!r} already: give this one a name, as in sales={text.rpartition('=')[2]}"
            )
        columns[name] = wanted


def _column(function: str, text: str) -> tuple[str, Aggregate]:
    """The name of a column, and what it is."""
    if function == "count":
        return "count", count()
    name, equals, path = text.rpartition("=")
    if function != "percentile":
        return name if equals else f"{function}_{path}", Aggregate({function: path})
    p, _, path = path.partition(":")
    try:
        return name if equals else f"p{p}_{path}", percentile(path, float(p))
    except ValueError:
        raise click.BadParameter(f"{text!r}: write the percentage and the property, as in 95:price") from None


@click.command()
@collection_argument
@click.argument("document", required=False, metavar="[QUERY]")
@_column_options
@click.option("--by", "groups", multiple=True, metavar="PROPERTY", help="A row for each value of it.")
@choice_options
@click.option("--interval", type=click.Choice(list(INTERVALS), case_sensitive=False), help="Rows for each of these.")
@click.option("--non-empty", is_flag=True, help="Leave out intervals without events.")
@click.option(
    "--order-by", "order", multiple=True, metavar="COLUMN[:desc]", help="Sort by a column, or property of --by."
)
@click.option("--limit", type=int, help="The first rows; of each interval.")
@click.option(
    "--format", "-f", "form", type=click.Choice(list(FORMS)), default="table", show_default=True, help="Output."
)
@click.option("--show", is_flag=True, help="Print the query as JSON, and do not ask.")
@timeout_option("Seconds to wait for the answer.")
@asking_options
@click.pass_context
def query(
    context: click.Context,
    /,
    collection: str,
    document: str | None,
    groups: Sequence[str],
    choice: Choice,
    interval: str | None,
    non_empty: bool,
    order: Sequence[str],
    limit: int | None,
    form: str,
    show: bool,
    timeout: float,
    connection: Connection,
) -> None:
    """Ask a collection: how many, how much, by what, when.

    QUERY is one in JSON, or - for standard input; the options narrow it and add to it.

    \b
    Examples:
      connect-logging query purchases --count
      connect-logging query purchases --sum price --by country --where price=gt:5 --timeframe this_month
      connect-logging query purchases --count --timeframe last_30_days --interval daily --format line
      connect-logging query purchases --avg mean=price --by country --order-by mean:desc --limit 10
      connect-logging query purchases '{"select": {"n": "count"}, "filter": {"country": "AU"}}'
    """
    with asking(connection, timeout) as client, in_options() if document is None else nullcontext():
        read = read_object("QUERY", document)
        asked = client.query(collection, read)
        tell_ignored(read or {})
        asked = choice.apply(asked.select(context.meta[_COLUMNS]) if context.meta[_COLUMNS] else asked)
        if groups:
            asked = asked.group_by(*groups)
        if interval is not None:
            asked = asked.interval(interval, non_empty=non_empty)  # type: ignore[arg-type]  # one of the choices
        elif non_empty:
            raise click.UsageError("--non-empty is for an --interval")
        if order:
            asked = asked.order_by(*map(_order, order))
        asked = asked if limit is None else asked.limit(limit)
        if show:
            print_json(asked.document)
            return
        with waiting(connection):
            response = asked.execute()
            columns = asked.document.get("select") or [COUNT_COLUMN]
            if not any(row.get(column) for row in response for column in columns):
                tell_if_absent(client, collection)
    print_answer(response, form)


def _order(text: str) -> Order | str:
    column, colon, direction = text.rpartition(":")
    if not colon or direction.lower() not in ("asc", "desc"):
        return text
    return Order(column, "desc" if direction.lower() == "desc" else "asc")
