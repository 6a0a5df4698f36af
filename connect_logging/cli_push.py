"""``connect-logging push``: a few events from the command line, or a stream of them while it comes.

Invariants:

* A line is pushed when it has come, not at the end of what is read; memory does not grow with the stream.
* An event that cannot be stored is told of with its place, and leaves the others as they are. When the server no longer
  takes events, nothing more is read.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from typing import Final

import click

from ._connecting import asking, collection_argument, sending_options, waiting
from ._console import Faults, amount, print_json, say
from ._http import is_temporary
from ._importing import lines
from ._settings import Connection
from .client import ConnectClient
from .exceptions import ConnectError, InvalidEventError, RequestError, UnavailableError
from .responses import PushResponse

_MOST_UNDER_WAY: Final = 10_000
"""Events that wait for their answers, before the next line is read."""
_EVENTS_OWN: Final = (200, 400, 413, 422)
"""Statuses of a refusal that concerns the event alone."""


@click.command()
@collection_argument
@click.argument("events", metavar="[EVENT]…", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print for each event a line of JSON: what became of it.")
@sending_options
def push(collection: str, events: tuple[str, ...], as_json: bool, connection: Connection, timeout: float) -> None:
    """Push events, which are JSON, or those on standard input.

    Each is an object; on standard input, a line, which is pushed as soon as it comes. An event without an id gets a
    new one, so that it is stored twice when it is pushed twice: use 'import' for files. The exit code is 1 when an
    event was not stored.

    \b
    Examples:
      connect-logging push purchases '{"price": 34.95, "customer": {"country": "AU"}}'
      tail -f events.jsonl | connect-logging push purchases
    """
    if not events and sys.stdin.isatty():
        click.echo("Type events, each a JSON object in a line; Ctrl-D ends.", err=True)
    texts: Iterable[str | bytes] = events or lines(sys.stdin.buffer, "standard input")
    with asking(connection, timeout) as client:
        pushing = _Pushing(client, collection, as_json)
        try:
            with waiting(connection) if events else nullcontext():
                pushing.push(texts)
        finally:
            pushing.tell_result()
    sys.exit(1 if pushing.faults.count else 0)


class _Pushing:
    def __init__(self, client: ConnectClient, collection: str, as_json: bool) -> None:
        self._client = client
        self._collection = collection
        self._as_json = as_json
        self._under_way: deque[tuple[int, Future[PushResponse]]] = deque()
        self.stored = 0
        self.faults = Faults()

    def push(self, texts: Iterable[str | bytes]) -> None:
        """Push all of ``texts`` and wait. Raises Problem when the server takes no events."""
        for place, text in enumerate(texts, start=1):
            if isinstance(text, str) or text.strip():  # a blank line is nothing, an empty argument a mistake
                self._add(place, text)
            self._settle(_MOST_UNDER_WAY)
        self._settle(0)

    def tell_result(self) -> None:
        """What has been done, also when it was stopped."""
        with suppress(ConnectError):  # it was raised already
            self._settle(len(self._under_way))
        self.faults.tell_rest()
        if not self._as_json:
            unknown = sum(not future.done() for _, future in self._under_way)
            say(f"{amount(self.stored, 'event')} stored" + (f"; of {unknown:,} it is not known" if unknown else ""))

    def _add(self, place: int, text: str | bytes) -> None:
        try:
            event = json.loads(text)
        except (ValueError, RecursionError) as error:
            self._refused(place, PushResponse(False, f"no JSON: {error}", None, None))
        else:
            self._under_way.append((place, self._client.push_event(self._collection, event)))

    def _settle(self, most: int) -> None:
        """Take note of what is answered, and wait until no more than ``most`` are under way."""
        while self._under_way and (len(self._under_way) > most or self._under_way[0][1].done()):
            place, future = self._under_way[0]
            try:
                response = future.result()
            except InvalidEventError as error:
                if any(violation.rule == "collection" for violation in error.violations):
                    raise
                response = PushResponse(False, str(error), None, None)
            else:
                if not response.success and response.http_status_code not in _EVENTS_OWN:
                    raise _stopped(place, response)
            self._under_way.popleft()
            if response.success:
                self.stored += 1
                self._tell(response)
            else:
                self._refused(place, response)

    def _refused(self, place: int, response: PushResponse) -> None:
        self.faults.tell(f"event {place}", response.error_message or "the server gave no reason")
        self._tell(response)

    def _tell(self, response: PushResponse) -> None:
        if self._as_json:
            print_json(
                {
                    "success": response.success,
                    "errorMessage": response.error_message,
                    "httpStatusCode": response.http_status_code,
                    "event": response.event,
                }
            )


def _stopped(place: int, response: PushResponse) -> RequestError:
    status = response.http_status_code
    kind = UnavailableError if status is None or is_temporary(status) else RequestError
    return kind(f"stopped at event {place}: {response.error_message}", status)
