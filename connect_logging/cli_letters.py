"""``connect-logging dead-letters …``: events that were refused, shown, and sent again when the cause is mended."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ._connecting import sending_options
from ._console import PathName, Problem, amount, json_option, plain, print_json, say
from ._letter_file import Broken, Letter, base_of, give_ids, read_letters, settle
from ._sending import Remarks, make_buffer, make_pusher, send
from ._settings import Connection
from ._types import Fate, Properties
from .event import Event, EventFactory
from .exceptions import InvalidEventError
from .rules import EventRules

_MOST_BROKEN: Final = 10
"""Broken lines told of one by one."""

_files = click.argument("files", metavar="FILE…", nargs=-1, required=True, type=PathName())


@click.group("dead-letters")
def dead_letters() -> None:
    """Events that were refused.

    They are in the file that is the option 'dead_letters' of a handler or client, or else in 'dead-letters.log' in its
    spool.
    """


@dead_letters.command("list")
@_files
@json_option
def list_letters(files: tuple[Path, ...], as_json: bool) -> None:
    """Show the dead letters in FILE, and in those it was rotated to if they are given as well (FILE.1, …)."""
    letters, _ = _letters(files)
    if as_json:
        print_json([_document(letter) for letter in letters])
        return
    if not letters:
        say("no dead letters")
        return
    table = Table()
    for name in ("time (UTC)", "collection", "id", "reason", "event"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        moment = letter.time[:19].replace("T", " ")
        cells = (moment, letter.collection, letter.id or "", letter.reason, _short(letter.event))
        table.add_row(*(Text(plain(cell, 120)) for cell in cells))
    Console().print(table)
    lost = sum(isinstance(letter.event, str) for letter in letters)
    say(f"{amount(len(letters), 'dead letter')}" + (f", {lost} of them text that cannot be replayed" if lost else ""))


@dead_letters.command()
@_files
@sending_options
@click.option("--collection", "collections", multiple=True, help="Replay only events for this one; may be repeated.")
def replay(
    files: tuple[Path, ...],
    connection: Connection,
    timeout: float,
    collections: tuple[str, ...],
) -> None:
    """Send the events in FILE again, once the cause is mended, with the ids and timestamps they have.

    What the server has stored is taken out of FILE; what it refuses again stays, with the new reason. Processes may
    write to FILE meanwhile, and nothing is lost when this is killed: run it again, an id is stored once. The exit
    code is 1 when something is left.
    """
    for base in dict.fromkeys(map(base_of, files)):
        try:
            give_ids(base, time.time)
        except OSError as error:
            raise Problem(f"{base} could not be rewritten ({error.strerror}), and nothing was sent") from None
    letters, broken = _letters(files)
    letters = [letter for letter in letters if not collections or letter.collection in collections]
    results, reason = _send(connection, letters, timeout)
    gone = [letter.line for letter in letters if results[letter.line].fate in (Fate.DELIVERED, Fate.DUPLICATE)]
    refused = {line: result.message for line, result in results.items() if result.fate is Fate.REJECTED}
    for base in dict.fromkeys(map(base_of, files)):
        try:
            settle(base, gone, refused, time.time)
        except OSError as error:
            again = "what was sent is still in it. Run it again when that is mended: an id is stored once"
            raise Problem(f"{base} could not be rewritten ({error.strerror}), and {again}") from None

    counts = Counter(results[letter.line].fate for letter in letters)
    say(f"{amount(counts[Fate.DELIVERED], 'event')} sent")
    if counts[Fate.DUPLICATE]:
        say(f"{amount(counts[Fate.DUPLICATE], 'event')} stored already")
    if counts[Fate.REJECTED]:
        say(f"left: {amount(counts[Fate.REJECTED], 'event')} refused again, with the new reason")
    if counts[Fate.DROPPED]:
        say(f"left: {amount(counts[Fate.DROPPED], 'event')} not sent: {reason}")
    if counts[None]:
        say(f"left: {amount(counts[None], 'event')} that cannot be replayed: only a text is left of what was logged")
    if broken:
        say(f"left: {amount(len(broken), 'line')} that cannot be read")
    sys.exit(1 if broken or len(gone) < len(letters) else 0)


class _Result(NamedTuple):
    """What became of one letter; no ``fate`` when there was nothing to send."""

    fate: Fate | None
    message: str


def _send(connection: Connection, letters: Iterable[Letter], patience: float) -> tuple[dict[bytes, _Result], str]:
    """The result of each letter, by its line, and why it stopped before all had one."""
    results: dict[bytes, _Result] = {}

    def note(line: bytes, _event: Event, fate: Fate, message: str | None, _http_status: int | None) -> None:
        results[line] = _Result(fate, message or "the server gave no reason")

    remarks = Remarks()
    factory = EventFactory(EventRules(refused_prefixes=("$",)), time.time)
    pusher = make_pusher(connection, make_buffer(remarks), remarks)
    for letter in letters:
        if isinstance(letter.event, str):
            results[letter.line] = _Result(None, "")
            continue
        try:
            event = factory.from_mapping(letter.collection, letter.properties)
        except InvalidEventError as error:
            results[letter.line] = _Result(Fate.REJECTED, str(error))
        else:
            pusher.submit(event, partial(note, letter.line))
    _, reason = send(pusher, remarks, patience)
    return results, reason


def _letters(files: Iterable[Path]) -> tuple[list[Letter], list[Broken]]:
    """The letters in ``files``, by time; of lines that are none standard error is told."""
    letters: list[Letter] = []
    broken: list[Broken] = []
    for path in dict.fromkeys(files):
        found, others = read_letters(path)
        if others and not found:
            raise Problem(f"{path} holds no dead letter: line {others[0].number} is none, as {others[0].reason}")
        letters += found
        broken += others
    for each in broken[:_MOST_BROKEN]:
        click.echo(f"{each.path}, line {each.number} is skipped: {each.reason}", err=True)
    if len(broken) > _MOST_BROKEN:
        click.echo(f"{len(broken) - _MOST_BROKEN:,} more lines are skipped", err=True)
    return sorted(letters, key=lambda letter: letter.time), broken


def _short(event: Properties | str) -> str:
    if isinstance(event, str):
        return event
    return json.dumps({name: event[name] for name in event if name not in ("id", "timestamp")}, ensure_ascii=False)


def _document(letter: Letter) -> dict[str, Any]:
    return {
        "file": str(letter.path),
        "line": letter.number,
        "time": letter.time,
        "collection": letter.collection,
        "id": letter.id,
        "reason": letter.reason,
        "event": letter.event,
        "replayable": isinstance(letter.event, dict),
    }
