"""``connect-logging export`` and ``import``: any number of events to and from files, or the standard streams."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from ._choosing import Choice, choice_options, in_options
from ._connecting import asking, collection_argument, connection_options, tell_if_absent, timeout_option
from ._console import Faults, Problem, amount, progress, say
from ._importing import Readable, lines, name_of
from ._settings import Connection
from ._terms import EXPORT_FORMATS, ExportFormat
from .responses import ImportResult

_STREAM: Final = "-"
_MAYBE_NOTHING: Final = 1_024
"""Bytes of an export: CSV and Parquet have a head, whatever follows it."""
_GZIP: Final = b"\x1f\x8b"
_FORMATS: Final = list(EXPORT_FORMATS)


@click.command()
@collection_argument
@click.option("--output", "-o", default=_STREAM, show_default=True, metavar="FILE|-", help="Where to; - is the output.")
@click.option("--format", "-f", "form", type=click.Choice(_FORMATS), help="By default the ending of FILE, or jsonl.")
@choice_options
@timeout_option("Seconds to wait for the beginning, and for each piece.")
@connection_options
def export(
    collection: str, output: str, form: ExportFormat | None, choice: Choice, timeout: float, connection: Connection
) -> None:
    """Write events to a file: JSON lines, CSV or Parquet.

    They come by their timestamps. FILE is there as a whole, or as it was before; on standard output, an export that
    breaks off has the exit code 1.

    \b
    Examples:
      connect-logging export purchases -o purchases.parquet --timeframe last_month
      connect-logging export purchases --where price=gt:5 | gzip > purchases.jsonl.gz
    """
    if output == _STREAM and form == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is nothing to look at: name a file with -o, or pipe it on")
    if not output or Path(output).is_dir():
        raise Problem(f"-o takes a file, not {output or 'an empty name'}")
    if not Path(output).parent.is_dir():
        raise Problem(f"{Path(output).parent} is no directory")
    with asking(connection, timeout) as client, in_options(), progress(f"exporting {collection}", None) as tell:
        chosen = choice.apply(client.export(collection))
        if output != _STREAM:
            done = chosen.to_file(output, form, progress=lambda done: tell(done, ""))
        else:
            done = 0
            with closing(chosen.pieces(form or "jsonl")) as pieces:
                for piece in pieces:
                    done += sys.stdout.buffer.write(piece)
                    tell(done, "")
            sys.stdout.buffer.flush()
        if done < _MAYBE_NOTHING:
            tell_if_absent(client, collection)
    if output != _STREAM:
        say(f"{output}: {done:,} bytes")


@click.command("import")
@collection_argument
@click.argument("file", default=_STREAM, metavar="[FILE]")
@click.option("--name", metavar="NAME", help="Of the source, for ids of events that have none.  [default: FILE's path]")
@timeout_option("Seconds of an outage after which it stops.")
@connection_options
def import_events(collection: str, file: str, name: str | None, timeout: float, connection: Connection) -> None:
    """Push the events of a file, or of standard input.

    They are lines of JSON, gzipped or not.

    An import that was stopped, however, is started again from the beginning, and no event is stored twice: an event
    without an id gets one that is made of its line, its place and the name. The exit code is 1 when an event was
    refused.

    \b
    Examples:
      connect-logging import purchases purchases.jsonl.gz
      cat purchases.jsonl | connect-logging import purchases --name purchases.jsonl
    """
    with (
        asking(connection, timeout) as client,
        _opened(file) as (source, counted, size),
        progress(f"importing {collection}", size) as tell,
    ):

        def show(result: ImportResult) -> None:
            stored = amount(result.imported_events + result.duplicate_events, "event")
            tell(
                counted.count, f", {stored}" + (f", {result.refused_events:,} refused" if result.refused_events else "")
            )

        try:
            called = name or ("" if file == _STREAM else name_of(file))
            result = client.import_events(lines(source, file), collection, name=called, progress=show)
        except KeyboardInterrupt:
            click.echo("Stopped: start it again, and no event is stored twice.", err=True)
            raise
    _tell(result)
    sys.exit(1 if result.refused_events else 0)


class _Counted(io.RawIOBase):
    """A file that counts what is read of it: in ``count``, bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file: Any = file
        self.count = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """What is there now, as much as fits."""
        piece: bytes = self._file.read1(len(buffer))
        buffer[: len(piece)] = piece
        self.count += len(piece)
        return len(piece)


@contextmanager
def _opened(file: str) -> Iterator[tuple[Readable, _Counted, int | None]]:
    """What is in the file, unpacked when it is gzipped; the file itself; and its size, if it has one."""
    with nullcontext(sys.stdin.buffer) if file == _STREAM else Path(file).open("rb") as opened:
        counted = _Counted(opened)
        source = io.BufferedReader(counted)
        size = None if file == _STREAM else os.fstat(opened.fileno()).st_size
        yield gzip.GzipFile(fileobj=source) if source.peek(2).startswith(_GZIP) else source, counted, size


def _tell(result: ImportResult) -> None:
    faults = Faults()
    for place, reason in result.event_errors:
        faults.tell(f"line {place}", reason)
    faults.tell_rest(amount(result.refused_events, "event"))
    say(f"{amount(result.imported_events, 'event')} stored")
    if result.duplicate_events:
        say(f"{amount(result.duplicate_events, 'event')} stored already")
    if result.refused_events:
        say(f"{amount(result.refused_events, 'event')} refused")
