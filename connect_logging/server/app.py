"""The application: a route table, a shape for every error, and the middleware around them."""

from __future__ import annotations

import time
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from .answers import RefusedError, RefusedFieldsError, error_message, field_errors
from .auth import Authenticator
from .body import Bodies
from .failed_keys import FailedKeys
from .ingest import Ingest
from .middleware import BodyInTime, CrossOrigin, PlainPaths
from .projects import ProjectFile
from .query.model import InvalidQueryError
from .routes.collections import CollectionRoutes
from .routes.documents import DocumentRoutes
from .routes.events import EventRoutes
from .routes.queries import QueryRoutes
from .settings import Settings
from .stores.base import Store, StoreBusyError, StoreError

_ERRORS: Final[tuple[type[Exception], ...]] = (
    RefusedError,
    RefusedFieldsError,
    InvalidQueryError,
    StoreError,
    HTTPException,
    ClientDisconnect,
    Exception,
)


def make_app(settings: Settings, projects: ProjectFile, store: Store) -> ASGIApp:
    """The server as an ASGI app. ``store`` stays the caller's to close."""
    auth = Authenticator(projects, FailedKeys(settings.failed_keys_per_minute, time.monotonic))
    bodies = Bodies(settings.max_bodies_bytes)
    events = EventRoutes(auth, Ingest(store, time.time), bodies, settings.max_body_bytes)
    queries = QueryRoutes(auth, store, time.time, settings.concurrent_queries)
    collections = CollectionRoutes(auth, store, settings.concurrent_queries)
    operations = [*events.routes(), *queries.routes(), *collections.routes()]
    app = Starlette(
        routes=[*operations, *DocumentRoutes(operations).routes()],
        exception_handlers=dict.fromkeys(_ERRORS, _answer_error),
    )
    app.router.redirect_slashes = False
    return CrossOrigin(PlainPaths(BodyInTime(app, settings.client_timeout, time.monotonic)))


async def _answer_error(_: Request, error: Exception) -> Response:
    """Every error in one of the protocol's two shapes; what we did not foresee is in the log, not in the answer."""
    match error:
        case RefusedError():
            return error_message(error.status, error.message, error.headers)
        case RefusedFieldsError() | InvalidQueryError():
            return field_errors(error.errors)
        case StoreBusyError():
            return error_message(503, str(error), {"Retry-After": str(error.retry_after)})
        case StoreError():
            return error_message(503, str(error))
        case HTTPException():  # no such route, or not with this method
            return error_message(error.status_code, error.detail, error.headers)
        case ClientDisconnect():
            return error_message(400, "the request ended before it was whole")  # to nobody but the access log
        case _:
            return error_message(500, "the server failed; its log says why")
