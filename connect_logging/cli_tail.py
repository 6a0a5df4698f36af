"""``connect-logging tail``: the latest events of a collection, and those that come.

The server keeps no order of arrival, so it is asked again and again for events by their timestamps. Invariants:

* An event is shown once: the ids that a look found are known to the next one.
* Each look begins ``OVERLAP`` before the newest event so far, so that what arrives late, or comes from a clock that is
  behind, is shown when it is no later than that. A timestamp in the future moves nothing.
* No look begins before the one that was before it, wherever the clock of this machine is set: else all that is older
  than what was shown would be shown as if it came now. While the clock is behind that, it is said.
* Memory is bounded by ``most`` ids. Where more events than that are within the overlap it becomes shorter, and an event
  that is later than that is not shown; none is shown twice.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from ._choosing import Choice, filter_options
from ._connecting import Number, asking, collection_argument, connection_options, timeout_option
from ._console import plain
from ._settings import Connection
from ._types import Properties
from .exceptions import UnavailableError
from .query import Export, Query, count
from .rules import parse_timestamp

OVERLAP: Final = timedelta(seconds=60)
MOST: Final = 100_000
"""Ids that are remembered, of some 100 bytes each."""

_INSTANT: Final = timedelta(microseconds=1)
_GROWTH: Final = 4
_LONGEST: Final = timedelta(days=50 * 365)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + OVERLAP


@click.command()
@collection_argument
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--lines", "-n", default=10, show_default=True, type=click.IntRange(0, 10_000), help="How many at first.")
@click.option("--every", default=1.0, show_default=True, type=Number(0.01), help="Seconds between two looks.")
@filter_options
@timeout_option("Seconds for the beginning of an answer.")
@connection_options
def tail(
    collection: str, follow: bool, lines: int, every: float, choice: Choice, timeout: float, connection: Connection
) -> None:
    """Show the latest events of a collection, and those that come.

    Each is a line of JSON, in the order of their timestamps. An event that arrives a minute later than the newest one
    says is not shown any more.

    \b
    Example:
      connect-logging tail -f purchases --where price=gt:100
    """
    window = Window(datetime.now(UTC), MOST)
    with asking(connection, timeout) as client:
        events = choice.apply(client.export(collection))
        since = _reaching_back(choice.apply(client.query(collection)), lines)
        for event in deque(_new(events, window, since), lines):
            _show(event)
        is_behind = False
        while follow:
            time.sleep(every)
            now = datetime.now(UTC)
            since = window.start(now)
            if since > now and not is_behind:
                click.echo(
                    f"the clock was set back: until it is {since:%Y-%m-%dT%H:%M:%SZ} only later events are shown",
                    err=True,
                )
            is_behind = since > now
            try:
                for event in _new(events, window, since):
                    _show(event)
            except UnavailableError as error:
                click.echo(plain(f"{connection.base_url}: {error}; still trying", 1_000), err=True)


class Window:
    """What was seen lately. ``began``: where to look from before anything was seen. Times are UTC."""

    def __init__(self, began: datetime, most: int) -> None:
        self._most = most
        self._newest: datetime | None = None
        self._began = began
        self._floor = _EARLIEST - OVERLAP
        self._seen: dict[str | int, datetime] = {}

    def start(self, now: datetime) -> datetime:
        """Where the next look begins; what was before is forgotten."""
        newest = self._began if self._newest is None else min(self._newest, now)
        start = max(max(newest, _EARLIEST) - OVERLAP, self._floor)
        if self._newest is not None:
            self._floor = start
        self._seen = {event_id: seen for event_id, seen in self._seen.items() if seen >= start}
        return start

    def is_new(self, event: Properties) -> bool:
        """Whether ``event`` was not seen before; it is from now on."""
        event_id, timestamp = event["id"], parse_timestamp(event["timestamp"])
        if event_id in self._seen or timestamp < self._floor:
            return False
        self._seen[event_id] = timestamp
        self._newest = timestamp if self._newest is None else max(self._newest, timestamp)
        if len(self._seen) > 2 * self._most:
            self._forget()
        return True

    def _forget(self) -> None:
        """Keep the newest ``most`` ids, and look no further back than to the oldest of these."""
        ordered = sorted(self._seen.items(), key=lambda item: item[1])
        self._floor = ordered[-self._most - 1][1] + _INSTANT
        self._seen = {event_id: seen for event_id, seen in ordered if seen >= self._floor}


def _reaching_back(query: Query, lines: int) -> datetime:
    """A time since which there are ``lines`` events, not many more if they came evenly; or all there are."""
    counted = query.select(n=count())
    now, span = datetime.now(UTC), OVERLAP
    while span < _LONGEST:
        found: int = counted.timeframe(now - span).execute()[0]["n"]
        if found >= lines:
            return now - span
        span *= _GROWTH
    return _EARLIEST


def _new(events: Export, window: Window, since: datetime) -> Iterator[Properties]:
    return filter(window.is_new, events.timeframe(since))


def _show(event: Properties) -> None:
    """JSON in one line, with escapes for what a terminal would obey."""
    text = json.dumps(event, ensure_ascii=False)
    click.echo(text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text))


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if character.isascii() else json.dumps(character)[1:-1]
