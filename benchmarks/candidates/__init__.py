"""What is measured side by side, by name. Each is set up as its own documentation advises.

A candidate's function takes a :class:`Target` and returns :class:`Opened`. Its module is imported when it is asked
for, in the process that measures it: so no peer is imported where another is measured, and none where ours is.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

COLLECTION: Final = "orders"

MARK: Final = "purchase"
"""Is in every event exactly once, and in nothing else that is sent: the sink counts it."""

EVENT: Final = {
    "type": MARK,
    "price": 34.95,
    "quantity": 2,
    "paid": True,
    "customer": {"firstName": "Tom", "lastName": "Smith", "country": "AU", "age": 33},
    "product": {"name": "shirt", "category": "clothes"},
}
"""Nested, ten properties."""

ROOMY: Final = 1_000_000
"""Events: the size of a peer's queue where it is enlarged."""


class Target(NamedTuple):
    """``url``: of the sink. ``directory``: an empty one. ``is_enlarged``: with more room than by default."""

    url: str
    directory: Path
    is_enlarged: bool


class Opened(NamedTuple):
    """``finish(seconds)`` sends what is left, for about so long at most, and closes."""

    handler: logging.Handler
    finish: Callable[[float], object]


class Candidate(NamedTuple):
    """``function``: ``module:name``. ``setup``: how it is set up, for the report; ``enlarged``: and with more room."""

    function: str
    setup: str
    enlarged: str = ""


CANDIDATES: Final = {
    "NullHandler": Candidate("local:null", "stdlib"),
    "encode and discard": Candidate("local:encode", "msgspec, no lock"),
    "QueueHandler": Candidate("local:queued", "stdlib, an unbounded queue that nobody reads"),
    "FileHandler, JSON": Candidate("local:file", "stdlib, a line of JSON by msgspec"),
    "SQLite": Candidate("local:sqlite", "an insert, committed, per event; WAL, synchronous=NORMAL"),
    "concurrent-log-handler": Candidate("local:concurrent_file", "a line of JSON by msgspec"),
    "encode, frame, write": Candidate("bounds:written", "a bound: what a journal cannot leave out, in one function"),
    "check, encode, frame, write": Candidate("bounds:checked", "a bound: as above, for valid events"),
    "limit program": Candidate("bounds:limit", "encode, id, time, and batches of 5,000 posted on the caller's thread"),
    "ConnectHandler, in memory": Candidate("ours:in_memory", "defaults"),
    "ConnectHandler, journaled": Candidate("ours:journaled", "defaults with a spool"),
    "ConnectHandler, by a process": Candidate("ours:by_process", "with a spool and sender='process'"),
    "ConnectHandler, journaled, gzip": Candidate("ours:compressed", "as our server asks it to: bodies are compressed"),
    "connect-client, batches": Candidate("original:batches", "the original; push_events with 5,000 events"),
    "connect-client, single": Candidate("original:single", "the original; push_event for each record"),
    "Segment": Candidate("segment:track", "track for each record", "max_queue_size"),
    "Sentry logs": Candidate("sentry:logs", "enable_logs", "transport_queue_size and the constant MAX_BEFORE_DROP"),
    "OpenTelemetry": Candidate("otlp:logs", "LoggingHandler, batch processor, OTLP over HTTP", "max_queue_size"),
    "PostHog": Candidate("post_hog:capture", "capture for each record", "max_queue_size"),
}


def open_candidate(name: str, target: Target) -> Opened:
    """Set it up in this process. Raises ModuleNotFoundError when its package is not installed."""
    module, function = CANDIDATES[name].function.split(":")
    opened: Opened = getattr(importlib.import_module(f"{__name__}.{module}"), function)(target)
    return opened
