"""``connect-logging spool …``: what waits on disk, shown and sent. Works beside the processes that use the spool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ._connecting import sending_options
from ._console import PathName, Problem, amount, json_option, plain, print_json, say
from ._journal.recovery import DAMAGED_SUFFIX, SegmentInfo, inspect, is_spool
from ._journal.segment import SUFFIX
from ._sending import Remarks, make_buffer, make_pusher, send
from ._settings import DEAD_LETTERS, Connection

_directory = click.argument("directory", metavar="DIR", type=PathName())


@click.group()
def spool() -> None:
    """Events that wait on disk.

    They are in the directory that is the option 'spool' of a handler or client.
    """


@spool.command()
@_directory
@json_option
def status(directory: Path, as_json: bool) -> None:
    """Show the files in the spool DIR, whose they are, and what waits in them.

    Nothing is changed, and nobody who uses the spool is disturbed. Of a file in use the numbers are a moment's.
    """
    _check(directory)
    segments = inspect(directory)
    document = _document(directory, segments)
    if as_json:
        print_json(document)
        return
    if segments:
        Console().print(_table(segments))
    oldest = document["oldest"]
    since = f", the oldest for {plain(oldest['collection'])} since {_moment(oldest)}" if oldest else ""
    say(f"{amount(document['events'], 'event')} in {amount(len(segments), 'file')}{since}; {document['bytes']:,} bytes")
    if document["damagedBytes"]:
        say(f"{document['damagedBytes']:,} bytes were damaged, and are set aside in *{DAMAGED_SUFFIX}")
    if document["deadLetterBytes"]:
        say(f"there are dead letters: connect-logging dead-letters list {directory / DEAD_LETTERS}")


@spool.command()
@_directory
@sending_options
def drain(directory: Path, connection: Connection, timeout: float) -> None:
    """Send now what processes that are gone have left in the spool DIR.

    What a running process has there is left to it. What the server refuses goes to the dead letters in DIR. Ctrl-C
    stops, and what was not sent stays in the spool. The exit code is 1 when something is left.
    """
    _check(directory)
    remarks = Remarks()
    journal = make_buffer(remarks, directory)
    journal.maintain()  # takes over what lies there, before the first look at how much it is
    pusher = make_pusher(connection, journal, remarks, directory / DEAD_LETTERS)
    stats, reason = send(pusher, remarks, timeout)

    say(f"{amount(stats['delivered'], 'event')} sent")
    if stats["duplicate"]:
        say(f"{amount(stats['duplicate'], 'event')} stored already")
    if stats["rejected"]:
        say(f"{amount(stats['rejected'], 'event')} refused, and now in {directory / DEAD_LETTERS}")
    if stats["damaged_bytes"]:
        say(f"{stats['damaged_bytes']:,} bytes damaged, and set aside in {directory}/*{DAMAGED_SUFFIX}")
    sys.exit(1 if _tell_what_is_left(directory, reason) else 0)


def _tell_what_is_left(directory: Path, reason: str) -> bool:
    """Print what lies in the spool still; whether any of it has nobody who sends it."""
    kinds: dict[str, list[SegmentInfo]] = {}
    for segment in inspect(directory):
        kinds.setdefault(segment.state, []).append(segment)
    in_use = kinds.pop("in use", [])
    if in_use:
        events = amount(sum(segment.events for segment in in_use), "event")
        say(f"{amount(len(in_use), 'file')} in use, with {events}: left to the running processes they belong to")
    for segment in kinds.get("newer version", []):
        say(f"left: {segment.name}, which a newer version of connect_logging wrote")
    for segment in kinds.get("unreadable", []):
        say(f"left: {segment.name}, which cannot be read: {segment.problem}")
    if orphans := kinds.get("orphan"):
        events = amount(sum(segment.events for segment in orphans), "event")
        why = reason or "a process has just left them"
        say(f"left: {events} in {amount(len(orphans), 'file')}: {why}")
    return bool(kinds)


def _check(directory: Path) -> None:
    """Refuse what is no spool, before anything is looked for, or made, in it."""
    if not directory.exists():
        raise Problem(f"{directory} does not exist")
    if not directory.is_dir():
        raise Problem(f"{directory} is not a directory")
    if not is_spool(directory):
        raise Problem(f"{directory} is no spool: no file in it ends with {SUFFIX}")


def _document(directory: Path, segments: list[SegmentInfo]) -> dict[str, Any]:
    files = [
        {
            "name": segment.name,
            "state": segment.state,
            "pid": segment.pid or None,
            "events": segment.events,
            "bytes": segment.size,
            "oldest": _oldest(segment),
            "problem": segment.problem or None,
        }
        for segment in segments
    ]
    return {
        "directory": str(directory),
        "files": files,
        "events": sum(segment.events for segment in segments),
        "bytes": sum(segment.size for segment in segments),
        "oldest": next((each["oldest"] for each in files if each["oldest"]), None),
        "damagedBytes": _size(directory, f"*{DAMAGED_SUFFIX}"),
        "deadLetterBytes": _size(directory, f"{DEAD_LETTERS}*"),
    }


def _oldest(segment: SegmentInfo) -> dict[str, str] | None:
    if segment.oldest is None:
        return None
    try:
        timestamp = str(segment.oldest.properties["timestamp"])
    except (ValueError, KeyError):  # a checksum that fits by chance
        timestamp = "?"
    return {"timestamp": timestamp, "collection": segment.oldest.collection}


def _size(directory: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in directory.glob(pattern))


def _table(segments: list[SegmentInfo]) -> Table:
    table = Table()
    table.add_column("file", overflow="fold")
    table.add_column("state")
    table.add_column("written by", justify="right")
    table.add_column("events", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("oldest (UTC)", no_wrap=True)
    for segment in segments:
        oldest = _oldest(segment)
        table.add_row(
            segment.name.removesuffix(SUFFIX),
            f"{segment.state}: {segment.problem}" if segment.problem else segment.state,
            f"pid {segment.pid}" if segment.pid else "",
            f"{segment.events:,}",
            f"{segment.size:,}",
            _moment(oldest) if oldest else "",
        )
    return table


def _moment(oldest: dict[str, str]) -> str:
    return plain(oldest["timestamp"][:19].replace("T", " "))
