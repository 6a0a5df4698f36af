"""Push events from code, and get a future for each call; ask, export, import.

A lone push goes at once. While its request is under way all that comes gathers for the next one, so that pushes made
close together share their requests, the more the faster they come. Invariants:

* A push returns at once. What is wrong with an event, a full buffer, a refused key, a server that stays away: all of
  it comes back in the future, and every future gets a result within ``retry_for`` and a request's time, or at
  :meth:`ConnectClient.close`.
* The caller's dicts are never changed and may be changed afterwards.
* What reads waits for its answer, and raises what is wrong; see :mod:`._reader`.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from ._buffer import MemoryBuffer
from ._dead_letter import DeadLetterLog
from ._durability import BufferOptions
from ._notices import Notices
from ._pusher import MAX_BATCH_BYTES, Pusher
from ._retry import RetryPolicy
from ._settings import LONGEST, Connection, Triggers, number, waiting_time
from ._transport import HttpTransport
from ._types import Fate, Overflow, Violation
from .event import Event, EventFactory
from .exceptions import ClosedError, InvalidEventError
from .responses import Collection, ImportResult, PushBatchResponse, PushResponse
from .rules import MAX_BATCH_EVENTS, EventRules

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ._importing import Source
    from .query import Export, Query

_Response = TypeVar("_Response")

_IMPORT_LINGER: Final = 1.0
"""Seconds that events of an import wait for a batch to be full."""


class ConnectClient:
    """A client of one project.

    ``project_id``, ``api_key``, ``base_url``: where to push and as whom; by default the environment's
    ``CONNECT_PROJECT_ID``, ``CONNECT_API_KEY``, ``CONNECT_BASE_URL``.
    ``spool``, ``durability``, ``spool_max_bytes``, ``loss_window_ms``: as for :class:`~.handler.ConnectHandler`.
    With a spool no push is given up: its future waits for the server's answer, or for :meth:`close`. What an
    earlier process left in the spool is pushed as well, without a future.
    ``timeout``: seconds for the whole of one request. ``retry_for``: seconds of an outage during which pushes are
    tried again; while it lasts longer, each is tried once. ``max_events``, ``max_bytes``: what may wait in memory;
    a push beyond it fails at once. ``dead_letters``: a file for events that the server refused; by default only
    their futures tell. ``exit_timeout``: seconds that :meth:`close` may take when it is not told, as at the end of
    the process. ``read_timeout``: seconds for the whole of a question, with its tries, where a call does not say; of
    an export, for each of its pieces.

    Raises ConfigurationError. Safe to share between threads; a forked child may go on using it.
    """

    def __init__(
        self,
        project_id: str | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        spool: str | Path | None = None,
        durability: str | None = None,
        spool_max_bytes: int = 1024**3,
        loss_window_ms: float = 100.0,
        timeout: float = 10.0,
        retry_for: float = 30.0,
        max_events: int = 500_000,
        max_bytes: int = 256 * 1024 * 1024,
        dead_letters: str | Path | None = None,
        exit_timeout: float = 5.0,
        read_timeout: float = 60.0,
    ) -> None:
        self._connection = Connection.from_options(project_id, api_key, base_url, os.environ)
        self._timeout = number("timeout", timeout, least=0.001)
        self._give_up = RetryPolicy(base=0.1, cap=5.0, hold=None, give_up_after=number("retry_for", retry_for, least=0))
        buffering = BufferOptions(
            spool=spool,
            durability=durability,
            spool_max_bytes=spool_max_bytes,
            loss_window_ms=loss_window_ms,
            max_events=max_events,
            max_bytes=max_bytes,
            overflow=Overflow.DROP_NEWEST,
            block_timeout=0.0,
        )
        dead_letters = buffering.dead_letters(dead_letters)
        notices = Notices(time.monotonic)
        self._pusher = Pusher(
            buffer=buffering.make(notices, time.monotonic),
            transport=HttpTransport(self._connection, self._timeout, time.monotonic),
            retry=RetryPolicy(base=0.1, cap=5.0) if spool is not None else self._give_up,
            dead_letters=None if dead_letters is None else DeadLetterLog(dead_letters, time.time),
            triggers=Triggers(MAX_BATCH_EVENTS, MAX_BATCH_BYTES, 0.0),
            notices=notices,
            exit_timeout=number("exit_timeout", exit_timeout, least=0),
            clock=time.monotonic,
        )
        if spool is not None:
            self._pusher.start()
        # Here, as questions are below: who only logs does not wait for their modules.
        from concurrent.futures import Future

        from ._exchange import HttpExchange
        from ._reader import Reader

        self._reader = Reader(
            HttpExchange(self._connection, time.monotonic),
            RetryPolicy(base=0.1, cap=5.0),
            number("read_timeout", read_timeout, least=0.001),
            time.monotonic,
        )
        self._make_future: type[Future[Any]] = Future
        self._factory = EventFactory(EventRules(refused_prefixes=("$",)), time.time)
        self._closed = False
        atexit.register(self._pusher.close_at_exit)

    def push_event(self, collection: str, event: Mapping[str, Any]) -> Future[PushResponse]:
        """Push one event. The future raises InvalidEventError, or ClosedError after :meth:`close`."""
        future: Future[PushResponse] = self._make_future()
        future.set_running_or_notify_cancel()
        try:
            self._check_open()
            made = self._factory.from_mapping(collection, event)
        except (InvalidEventError, ClosedError) as error:
            future.set_exception(error)
        else:
            self._pusher.submit(made, partial(_resolve, future))
        return future

    def push_events(self, events: Mapping[str, Sequence[Mapping[str, Any]]]) -> Future[PushBatchResponse]:
        """Push ``{collection: [event, …]}``; over 5,000 events travel in several requests.

        If one event is invalid none is pushed: the future raises InvalidEventError, whose paths begin with
        ``collection[index]``.
        """
        future: Future[PushBatchResponse] = self._make_future()
        future.set_running_or_notify_cancel()
        try:
            self._check_open()
            made = self._make_all(events)
        except (InvalidEventError, ClosedError) as error:
            future.set_exception(error)
            return future
        gathering = _Gathering(future, made)
        for collection, batch in made.items():
            for at, event in enumerate(batch):
                self._pusher.submit(event, partial(gathering.add, collection, at))
        return future

    def import_events(
        self,
        source: Source,
        collection: str,
        *,
        name: str | None = None,
        progress: Callable[[ImportResult], object] | None = None,
    ) -> ImportResult:
        """Push all of ``source`` and wait for it: a path of JSON lines (``.gz``: gzipped), or an iterable of dicts
        or lines. An import that was interrupted is started again, and stores no event twice.

        ``name``: of the source, which goes into the ids of events that have none; by default a file's path.
        ``progress`` is told now and then what has been done so far. Raises UnavailableError after ``retry_for``
        seconds of an outage, RequestError when the key or the address is wrong, InvalidEventError for the collection,
        DamagedSourceError for a gzipped file that is not whole, and OSError for one that cannot be read.
        """
        from ._importing import Import, name_of

        self._check_open()
        pusher = self._import_pusher()
        try:
            called = name_of(source) if name is None else name
            return Import(collection, called, pusher, EventFactory(EventRules(), time.time), progress).run(source)
        finally:
            pusher.close(0)

    def query(self, collection: str, document: Mapping[str, Any] | None = None) -> Query:
        """A question, to be built step by step: ``client.query("purchases").select(n=count()).execute()``.

        ``document``: a query as JSON has it, to begin with. Raises InvalidQueryError.
        """
        from .query import Query  # with all of the grammar, which most programs do without

        return Query.begin(self._reader, collection, document)

    def export(self, collection: str) -> Export:
        """The events of a collection, to be iterated or written to a file; narrowed as a query is."""
        from .query import Export

        return Export.begin(self._reader, collection)

    def collections(self, timeout: float | None = None) -> list[Collection]:
        """The project's collections, by name. Raises RequestError, as do those that follow."""
        return self._reader.collections(timeout)

    def collection(self, name: str, timeout: float | None = None) -> Collection:
        """One collection, with the properties of its events. Raises InvalidQueryError for a name that none can have."""
        return self._reader.collection(name, timeout)

    def delete_collection(self, name: str, timeout: float | None = None) -> None:
        """Delete a collection with all its events, for good; with the master key only. Raises as :meth:`collection`."""
        self._reader.delete_collection(name, timeout)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was pushed so far has its result; False after ``timeout`` seconds.

        This and :meth:`close` raise ConfigurationError for a timeout that is no number.
        """
        return self._pusher.flush(waiting_time(timeout, self._pusher.exit_timeout))

    def stats(self) -> dict[str, Any]:
        """Counts since the start, see docs/reliability.md: accepted, delivered, duplicate, rejected, dropped, …"""
        return self._pusher.stats()

    def close(self, timeout: float | None = None) -> bool:
        """Flush within ``timeout`` seconds and stop. True when all was sent; what was not, its future says."""
        seconds = waiting_time(timeout, self._pusher.exit_timeout)
        self._closed = True
        self._reader.close()
        atexit.unregister(self._pusher.close_at_exit)
        return self._pusher.close(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this client is closed; push before close(), or make a new client")

    def _import_pusher(self) -> Pusher:
        """One that lets its callers wait while it holds enough for two requests."""
        buffer = MemoryBuffer(
            max_events=2 * MAX_BATCH_EVENTS,
            max_bytes=2 * MAX_BATCH_BYTES,
            overflow=Overflow.BLOCK,
            block_timeout=LONGEST,
            clock=time.monotonic,
        )
        return Pusher(
            buffer=buffer,
            transport=HttpTransport(self._connection, self._timeout, time.monotonic),
            retry=self._give_up,
            dead_letters=None,
            triggers=Triggers(MAX_BATCH_EVENTS, MAX_BATCH_BYTES, _IMPORT_LINGER),
            notices=Notices(time.monotonic),
            exit_timeout=0.0,
            clock=time.monotonic,
        )

    def _make_all(self, events: object) -> dict[str, list[Event]]:
        made: dict[str, list[Event]] = {}
        violations: list[Violation] = []
        if not isinstance(events, Mapping):
            reason = f"a batch is a dict of collections and their lists of events, not {type(events).__name__}"
            raise InvalidEventError([Violation("", "type", reason)])
        for collection, batch in events.items():
            if not isinstance(batch, Sequence) or isinstance(batch, str | bytes):
                reason = f"a collection's events are a list, not {type(batch).__name__}"
                violations.append(Violation(str(collection), "type", reason))
                continue
            made[collection] = []
            for at, event in enumerate(batch):
                try:
                    made[collection].append(self._factory.from_mapping(collection, event))
                except InvalidEventError as error:
                    violations += (
                        Violation(f"{collection}[{at}]{'.' if path else ''}{path}", rule, message)
                        for path, rule, message in error.violations
                    )
        if violations:
            raise InvalidEventError(violations)
        return made


class _Gathering:
    """Waits for the outcomes of all events of one call, whatever requests they travel in."""

    def __init__(self, future: Future[PushBatchResponse], made: dict[str, list[Event]]) -> None:
        self._future = future
        self._lock = threading.Lock()
        self._results: dict[str, list[PushResponse | None]] = {
            collection: [None] * len(batch) for collection, batch in made.items()
        }
        self._left = sum(map(len, made.values()))
        if not self._left:
            self._finish()

    def add(
        self, collection: str, at: int, event: Event | None, fate: Fate, message: str | None, http_status: int | None
    ) -> None:
        with self._lock:
            self._results[collection][at] = _response(event, fate, message, http_status)
            self._left -= 1
            left = self._left
        if not left:
            self._finish()

    def _finish(self) -> None:
        results = {
            collection: [response for response in batch if response is not None]
            for collection, batch in self._results.items()
        }
        failed = next((response for batch in results.values() for response in batch if not response.success), None)
        if failed is None:
            _settle(self._future, PushBatchResponse(True, None, 200, results))
        else:
            response = PushBatchResponse(False, failed.error_message, failed.http_status_code, results)
            _settle(self._future, response)


def _resolve(
    future: Future[PushResponse], event: Event | None, fate: Fate, message: str | None, http_status: int | None
) -> None:
    _settle(future, _response(event, fate, message, http_status))


def _settle(future: Future[_Response], response: _Response) -> None:
    """A callback that raises what is no Exception must not end the thread that is to settle other futures.

    As one that calls ``sys.exit``, or reads a cancelled future of asyncio. Ctrl-C, which only the main thread gets, in
    a flush that sends by itself, is nobody's callback.
    """
    try:
        future.set_result(response)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise


def _response(event: Event | None, fate: Fate, message: str | None, http_status: int | None) -> PushResponse:
    success = fate in (Fate.DELIVERED, Fate.DUPLICATE)
    return PushResponse(success, None if success else message, http_status, event)
