"""Asking: ``GET /events/{collection}?query=<JSON>``."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..._terms import MAX_RESULT_ROWS
from ..._types import Clock
from ..answers import RefusedError, document
from ..auth import Authenticator
from ..openapi import COLLECTION, Answer, Component, Description, Operation, json_content
from ..parameters import collection_of
from ..query.compiler import Row
from ..query.model import Query, dotted
from ..query.parser import parse_query
from ..schemas import PATH, QUERY
from ..stores.base import Store

_ROW = Component(
    "Row",
    {
        "description": "The groups under their dotted names, then the aliases.",
        "type": "object",
        "additionalProperties": {"type": ["null", "boolean", "string", "number"]},
    },
)
_ANSWER = Component(
    "QueryAnswer",
    {
        "type": "object",
        "properties": {
            "metadata": {
                "type": "object",
                "properties": {
                    "groups": {"type": "array", "items": PATH},
                    "interval": {"type": "null"},
                    "timezone": {"type": "null"},
                },
                "required": ["groups", "interval", "timezone"],
                "additionalProperties": False,
            },
            "results": {"type": "array", "items": _ROW, "maxItems": MAX_RESULT_ROWS},
        },
        "required": ["metadata", "results"],
        "additionalProperties": False,
    },
)
_QUERY = Description(
    id="query",
    tag="Queries",
    summary="Ask a question",
    details="JSON5 is read as well, up to 16,384 characters.",
    allows="query, push/query and master keys, and filtered keys with `canQuery`",
    parameters=[
        COLLECTION,
        {"name": "query", "in": "query", "required": True, "content": json_content(QUERY)},
    ],
    answers={
        200: Answer(
            "The rows. A collection nobody has pushed to answers like an empty one.",
            json_content(
                _ANSWER,
                {
                    "metadata": {"groups": ["customer.country"], "interval": None, "timezone": None},
                    "results": [{"customer.country": "AU", "orders": 1, "revenue": 7.25}],
                },
            ),
            {"ETag": {"description": "Of these rows.", "schema": {"type": "string"}}},
        )
    },
    errors={413: "Over 10,000 rows.", 422: "The query, by field."},
)


class QueryRoutes:
    """``concurrent``: queries that run at a time. ``clock``: seconds since 1970."""

    def __init__(self, auth: Authenticator, store: Store, clock: Clock, concurrent: int) -> None:
        self._auth = auth
        self._store = store
        self._clock = clock
        self._turns = anyio.CapacityLimiter(concurrent)

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return [Operation("GET", "/events/{collection}", self.query, _QUERY)]

    async def query(self, request: Request) -> Response:
        """``{"metadata": …, "results": [row, …]}``; a collection nobody has pushed to answers like an empty one."""
        grant = self._auth.require(request, "query")
        collection = collection_of(request)
        query = parse_query(request.query_params.get("query"), self._clock())
        narrowed = replace(query, filters=grant.filters + query.filters)
        rows = await anyio.to_thread.run_sync(
            self._store.query, grant.project, collection, narrowed, limiter=self._turns
        )
        if len(rows) > MAX_RESULT_ROWS:
            raise RefusedError(413, f"too many results: a query answers at most {MAX_RESULT_ROWS:,} rows")
        body = msgspec.json.encode(_answer(query, rows))
        return document(body, {"ETag": f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'})


def _answer(query: Query, rows: list[Row]) -> dict[str, Any]:
    groups = [dotted(path) for path in query.group_by]
    return {"metadata": {"groups": groups, "interval": None, "timezone": None}, "results": rows}
