"""Pushing: ``POST /events/{collection}`` for one event, ``POST /events`` and ``POST /events/`` for a batch.

Some SDKs send batches to the one, some to the other, and none follows a redirect: both are routes.
A batch is never answered with ``errors``, which one SDK would take for a collection.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...exceptions import InvalidEventError
from ...rules import MAX_EVENT_BYTES
from ..answers import RefusedError, RefusedFieldsError, document, empty
from ..auth import Authenticator
from ..body import read_body
from ..ingest import Ingest, MalformedError, TooManyEventsError


class EventRoutes:
    """``max_body_bytes``: of a batch, inflated."""

    def __init__(self, auth: Authenticator, ingest: Ingest, max_body_bytes: int) -> None:
        self._auth = auth
        self._ingest = ingest
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """For the app's route table."""
        return [
            Route("/events", self.push_batch, methods=["POST"]),
            Route("/events/", self.push_batch, methods=["POST"]),
            Route("/events/{collection}", self.push, methods=["POST"]),
        ]

    async def push(self, request: Request) -> Response:
        """One event. 200 and an empty body: it is on disk, now or since an earlier push of its id."""
        grant = self._auth.require(request, "push")
        body = await read_body(request, MAX_EVENT_BYTES)
        try:
            is_new = await self._ingest.push(grant.project, request.path_params["collection"], body)
        except MalformedError as error:
            raise RefusedError(400, str(error)) from None
        except InvalidEventError as error:
            raise _refused(error) from None
        return empty() if is_new else empty({"X-Connect-Duplicate": "true"})

    async def push_batch(self, request: Request) -> Response:
        """Events of several collections. 200: each event that its result calls a success is on disk."""
        grant = self._auth.require(request, "push")
        body = await read_body(request, self._max_body_bytes)
        try:
            return document(await self._ingest.push_batch(grant.project, body))
        except MalformedError as error:
            raise RefusedError(400, str(error)) from None
        except TooManyEventsError as error:
            raise RefusedError(413, str(error)) from None


def _refused(error: InvalidEventError) -> RefusedError | RefusedFieldsError:
    """400 for a reserved name, as documented; 422 for everything else, by property."""
    if any(violation.rule == "reserved" for violation in error.violations):
        return RefusedError(400, str(error))
    return RefusedFieldsError({path or "event": message for path, message in error.errors.items()})
