"""The application: the operations, a shape for every error, and the middleware around them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp

from .._types import Clock
from ..exceptions import InvalidQueryError
from .answers import RefusedError, RefusedFieldsError, error_message, field_errors
from .auth import Authenticator
from .backing import Backing
from .body import Bodies
from .downloads import Downloads
from .failed_keys import FailedKeys
from .ingest import Ingest
from .metrics import Metrics
from .middleware import CrossOrigin, PlainPaths
from .observing import Exchange, Observing
from .parsing import Parsing
from .query.answer import TooManyResultsError
from .reads import Reads
from .routes.collections import CollectionRoutes
from .routes.documents import DocumentRoutes
from .routes.events import EventRoutes
from .routes.exports import ExportRoutes
from .routes.imports import ImportRoutes
from .routes.operations import OperationRoutes
from .routes.queries import QueryRoutes
from .routing import Routing
from .s3.addresses import Endpoints
from .settings import Settings
from .stores.base import StoppedError, StoreBusyError, StoreError, TooManyError
from .transfers.service import NoS3Error, Transfers
from .transfers.workers import TooManyWaitingError


def make_app(
    settings: Settings,
    backing: Backing,
    *,
    clock: Clock = time.time,
    metrics: Metrics | None = None,
    observers: Sequence[Callable[[Exchange], object]] = (),
    is_stopping: Callable[[], bool] = lambda: False,
    opened: ExitStack | None = None,
) -> ASGIApp:
    """The server as an ASGI app for HTTP. ``backing`` stays the caller's to close. ``clock``: seconds since 1970.

    ``observers``: told of every request. ``opened`` gets what has to be closed before the backing.
    """
    store = backing.store
    metrics = metrics or Metrics()
    metrics.watch("waiting_bytes", "Events that wait to be stored.", lambda: store.figures().waiting_bytes)
    metrics.watch("database_bytes", "The database on disk.", lambda: store.figures().bytes)
    auth = Authenticator(
        backing.projects, FailedKeys(settings.failed_keys_per_minute, time.monotonic), metrics.count_failed_key
    )
    bodies = Bodies(settings.max_bodies_bytes)
    ingest = Ingest(store, clock, count=metrics.count_events)
    transfers = Transfers(
        store,
        ingest,
        backing.jobs,
        Endpoints(settings.s3_endpoints),
        concurrent=settings.concurrent_transfers,
        scratch=backing.scratch,
        count=metrics.count_events,
        on_end=metrics.count_transfer,
    )
    jobs = transfers.jobs
    metrics.watch("transfers_running", "Imports and exports that run.", lambda: jobs.number_of("Running"))
    metrics.watch("transfers_waiting", "Imports and exports that wait.", lambda: jobs.number_of("Pending"))
    if opened is not None:
        opened.callback(transfers.close)
    events = EventRoutes(auth, ingest, bodies, settings.max_body_bytes)
    reads = Reads(settings.concurrent_queries, settings.query_timeout, metrics.count_query)
    metrics.watch("queries_running", "Queries and other reads that run.", lambda: reads.turns.running)
    metrics.watch("queries_waiting", "Queries and other reads that wait for a turn.", lambda: reads.turns.waiting)
    parsing = Parsing()
    queries = QueryRoutes(auth, store, parsing, reads, bodies, clock)
    collections = CollectionRoutes(auth, store, reads)
    downloads = Downloads(settings.max_downloads, settings.concurrent_queries)
    exports = ExportRoutes(auth, store, parsing, downloads, transfers, clock)
    imports = ImportRoutes(auth, transfers, settings.max_uploads)
    operations = [
        *events.routes(),
        *queries.routes(),
        *collections.routes(),
        *exports.routes(),
        *imports.routes(),
        *OperationRoutes(store, None if settings.metrics else metrics, is_stopping).routes(),
    ]
    app = Routing([*operations, *DocumentRoutes(operations).routes()], _answer_error)
    return PlainPaths(Observing(CrossOrigin(app), [metrics.observe, *observers]))


def _answer_error(error: Exception) -> Response:
    """Every error in one of the protocol's two shapes; what we did not foresee is in the log, not in the answer."""
    match error:
        case RefusedError():
            return error_message(error.status, error.message, error.headers)
        case RefusedFieldsError() | InvalidQueryError():
            return field_errors(error.errors)
        case TooManyResultsError() | TooManyError():
            return error_message(413, str(error))
        case TooManyWaitingError():
            return error_message(503, str(error), {"Retry-After": "60"})
        case NoS3Error():
            return error_message(501, str(error))
        case StoreBusyError():
            return error_message(503, str(error), {"Retry-After": str(error.retry_after)})
        case StoreError():
            return error_message(503, error.told)
        case ClientDisconnect() | StoppedError():
            return error_message(400, "the request ended before it was whole")  # to nobody but the access log
        case _:
            return error_message(500, "the server failed; its log says why")
