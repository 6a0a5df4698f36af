"""Collections: ``GET /collections``, ``GET /collections/{collection}`` and ``DELETE /collections/{collection}``."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..._grammar.model import dotted
from ..answers import RefusedError, document, empty
from ..auth import Authenticator
from ..openapi import COLLECTION, Answer, Component, Description, Json, Operation, json_content
from ..parameters import collection_of
from ..reads import Reads
from ..stores.base import PROPERTY_TYPES, Collection, Store

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = {"type": "string", "format": "date-time"}
_FIGURES: Final[dict[str, Json]] = {
    "name": {"type": "string"},
    "events": {"type": "integer", "minimum": 1},
    "bytes": {
        "description": "About what its events take as JSON lines; exact up to 2,000 events.",
        "type": "integer",
        "minimum": 1,
    },
    "firstEvent": {"description": "The earliest timestamp.", **_TIME},
    "lastEvent": {"description": "The latest timestamp.", **_TIME},
}
_SUMMARY = Component(
    "CollectionSummary",
    {"type": "object", "properties": _FIGURES, "required": [*_FIGURES], "additionalProperties": False},
)
_PROPERTY = Component(
    "Property",
    {
        "type": "object",
        "properties": {
            "name": {"description": "With dots into nested objects.", "type": "string"},
            "types": {"type": "array", "items": {"enum": PROPERTY_TYPES}, "minItems": 1, "uniqueItems": True},
        },
        "required": ["name", "types"],
        "additionalProperties": False,
    },
)
_DETAILS: Final = {**_FIGURES, "properties": {"type": "array", "items": _PROPERTY, "maxItems": 1_000}}
_COLLECTION = Component(
    "Collection",
    {"type": "object", "properties": _DETAILS, "required": [*_DETAILS], "additionalProperties": False},
)
_EXAMPLE: Final = {
    "name": "purchases",
    "events": 2,
    "bytes": 295,
    "firstEvent": "2026-03-01T09:30:00.000Z",
    "lastEvent": "2026-03-02T17:05:12.250Z",
}
_ANY_KEY = "query, push/query and master keys"
_BAD_NAME = "The name can be none of a collection."
_NO_SUCH = "There is no such collection."

_LIST = Description(
    id="listCollections",
    tag="Collections",
    summary="All collections, by name",
    allows=_ANY_KEY,
    answers={
        200: Answer(
            "Those that hold events.",
            json_content(
                {
                    "type": "object",
                    "properties": {"collections": {"type": "array", "items": _SUMMARY}},
                    "required": ["collections"],
                    "additionalProperties": False,
                },
                {"collections": [_EXAMPLE]},
            ),
        )
    },
)
_DESCRIBE = Description(
    id="describeCollection",
    tag="Collections",
    summary="One collection and its properties",
    details="The properties of some 20,000 events, the newest ones and others evenly from all; up to 1,000 properties.",
    allows=_ANY_KEY,
    parameters=[COLLECTION],
    answers={
        200: Answer(
            "Its figures and properties.",
            json_content(
                _COLLECTION, {**_EXAMPLE, "properties": [{"name": "customer.country", "types": ["string", "null"]}]}
            ),
        )
    },
    errors={404: _NO_SUCH, 422: _BAD_NAME},
)
_DELETE = Description(
    id="deleteCollection",
    tag="Collections",
    summary="Delete a collection with all its events",
    details="For good. A push that comes later makes the collection again.",
    allows="master keys",
    parameters=[COLLECTION],
    answers={200: Answer("It is deleted, on disk.")},
    errors={404: _NO_SUCH, 422: _BAD_NAME},
)


class CollectionRoutes:
    """All that is known of collections, and their end."""

    def __init__(self, auth: Authenticator, store: Store, reads: Reads) -> None:
        self._auth = auth
        self._store = store
        self._reads = reads

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return [
            Operation("GET", "/collections", self.list, _LIST),
            Operation("GET", "/collections/{collection}", self.describe, _DESCRIBE),
            Operation("DELETE", "/collections/{collection}", self.delete, _DELETE),
        ]

    async def list(self, request: Request) -> Response:
        """``{"collections": [figures, …]}``."""
        grant = self._auth.require(request, "browse")
        found = await self._reads.run(request, grant, partial(self._store.collections, grant.project))
        return document(msgspec.json.encode({"collections": [_figures(each) for each in found]}))

    async def describe(self, request: Request) -> Response:
        """The figures of one, and ``"properties": [{"name", "types"}, …]``."""
        grant = self._auth.require(request, "browse")
        collection = collection_of(request)
        found = await self._reads.run(request, grant, partial(self._store.describe, grant.project, collection))
        if found is None:
            raise _absent(collection)
        figures, properties = found
        listed = [{"name": dotted(each.path), "types": each.types} for each in properties]
        return document(msgspec.json.encode({**_figures(figures), "properties": listed}))

    async def delete(self, request: Request) -> Response:
        """200 and an empty body: it is gone, on disk."""
        grant = self._auth.require(request, "manage")
        collection = collection_of(request)
        if not await asyncio.wrap_future(self._store.delete(grant.project, collection)):
            raise _absent(collection)
        return empty()


def _absent(collection: str) -> RefusedError:
    return RefusedError(404, f"there is no collection {collection!r}")


def _figures(collection: Collection) -> dict[str, Any]:
    return {
        "name": collection.name,
        "events": collection.events,
        "bytes": collection.bytes,
        "firstEvent": _text(collection.first),
        "lastEvent": _text(collection.last),
    }


def _text(microseconds: int) -> str:
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
