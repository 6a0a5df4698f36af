"""Pushing: ``POST /events/{collection}`` for one event, ``POST /events`` and ``POST /events/`` for a batch.

Some SDKs send batches to the one, some to the other, and none follows a redirect: both are routes.
A batch is never answered with ``errors``, which one SDK would take for a collection.
"""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from ...exceptions import InvalidEventError
from ...rules import MAX_EVENT_BYTES
from ..answers import RefusedError, RefusedFieldsError, document, empty
from ..auth import Authenticator
from ..body import Bodies, read_body
from ..ingest import Ingest, MalformedError, TooManyEventsError
from ..openapi import COLLECTION, Answer, Component, Description, Operation, json_body, json_content
from ..schemas import EVENT, EVENTS

_PUSHERS = "push, push/query and master keys, and filtered keys with `canPush`"
_PUSH = Description(
    id="push",
    tag="Events",
    summary="Store one event",
    allows=_PUSHERS,
    parameters=[COLLECTION],
    body=json_body(EVENT, {"id": "order-1", "product": "bell", "price": 7.25, "customer": {"country": "AU"}}),
    answers={
        200: Answer(
            "The event is on disk, now or since an earlier push of its id. The body is empty.",
            headers={
                "X-Connect-Duplicate": {
                    "description": "`true` when the id was there already.",
                    "schema": {"const": "true"},
                }
            },
        )
    },
    errors={
        400: "Not JSON, no object, or a reserved name.",
        413: "Over 65,536 bytes, or of one collection more than a project may have.",
        415: "A Content-Encoding other than gzip.",
        422: "Any other broken rule, by property.",
    },
)
_RESULTS = Component(
    "BatchResults",
    {
        "description": "By collection, a result for each event in its order.",
        "type": "object",
        "additionalProperties": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "success": {"type": "boolean", "description": "It is on disk."},
                    "duplicate": {"type": "boolean", "description": "Its id was there already."},
                    "message": {"type": ["string", "null"], "description": "Why it was refused."},
                },
                "required": ["success", "duplicate", "message"],
                "additionalProperties": False,
            },
        },
    },
)
_PUSH_BATCH = Description(
    id="pushBatch",
    tag="Events",
    summary="Store events of several collections",
    details="`/events` and `/events/` are one. A bad event leaves the others as they are.",
    allows=_PUSHERS,
    body=json_body(
        {"type": "object", "propertyNames": {"pattern": "^(?!errorMessage$)"}, "additionalProperties": EVENTS},
        {"purchases": [{"id": "order-1"}], "refunds": [{"_id": 1}]},
        "By collection; up to 5,000 events and 32 MiB in all.",
    ),
    answers={
        200: Answer(
            "Each event that its result calls a success is on disk.",
            json_content(
                _RESULTS,
                {
                    "purchases": [{"success": True, "duplicate": False, "message": None}],
                    "refunds": [{"success": False, "duplicate": False, "message": "invalid event: _id: reserved"}],
                },
            ),
        )
    },
    errors={
        400: "Not an object of arrays, or a collection named twice.",
        413: "Over 5,000 events, 500 collections or 32 MiB, or of more collections than a project may have.",
        415: "A Content-Encoding other than gzip.",
    },
)


class EventRoutes:
    """``max_body_bytes``: of a batch, inflated."""

    def __init__(self, auth: Authenticator, ingest: Ingest, bodies: Bodies, max_body_bytes: int) -> None:
        self._auth = auth
        self._ingest = ingest
        self._bodies = bodies
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return [
            Operation("POST", "/events", self.push_batch, _PUSH_BATCH),
            Operation("POST", "/events/", self.push_batch, replace(_PUSH_BATCH, id="pushBatchSlash")),
            Operation("POST", "/events/{collection}", self.push, _PUSH),
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
        async with self._bodies.read(request, self._max_body_bytes) as body:
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
