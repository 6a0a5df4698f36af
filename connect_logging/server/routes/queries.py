"""Asking: ``GET /events/{collection}?query=<JSON>``, or the JSON as the body of ``POST /events/{collection}/query``."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from ..._grammar.model import Query
from ..._terms import INTERVALS, MAX_INTERVALS, MAX_RESULT_ROWS
from ..._types import Clock
from ..answers import JSON, RefusedFieldsError, document
from ..auth import Authenticator, Grant
from ..body import Bodies
from ..openapi import COLLECTION, Answer, Component, Description, Operation, json_body, json_content
from ..parameters import collection_of
from ..parsing import Parsing
from ..query.answer import answer, check_intervals
from ..query.parser import MAX_QUERY_BYTES, parse_query
from ..reads import Reads
from ..schemas import PATH, QUERY
from ..stores.base import QueryTimeoutError, Store

_MOMENT: Final = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
_ROW: Final = Component(
    "Row",
    {
        "description": "The groups under their dotted names, then the aliases.",
        "type": "object",
        "additionalProperties": {"type": ["null", "boolean", "string", "number"]},
    },
)
_INTERVAL: Final = Component(
    "Interval",
    {
        "description": "The rows of an interval, which is from its start until before its end.",
        "type": "object",
        "properties": {
            "interval": {
                "type": "object",
                "properties": {"start": _MOMENT, "end": _MOMENT},
                "required": ["start", "end"],
                "additionalProperties": False,
            },
            "results": {"type": "array", "items": _ROW},
        },
        "required": ["interval", "results"],
        "additionalProperties": False,
    },
)
_ANSWER: Final = Component(
    "QueryAnswer",
    {
        "type": "object",
        "properties": {
            "metadata": {
                "type": "object",
                "properties": {
                    "groups": {"type": "array", "items": PATH},
                    "interval": {"enum": [None, *INTERVALS]},
                    "timezone": {"description": "As it was sent.", "type": ["null", "string", "number"]},
                },
                "required": ["groups", "interval", "timezone"],
                "additionalProperties": False,
            },
            "results": {
                "anyOf": [
                    {"type": "array", "items": _ROW, "maxItems": MAX_RESULT_ROWS},
                    {"type": "array", "items": _INTERVAL, "maxItems": MAX_INTERVALS},
                ]
            },
        },
        "required": ["metadata", "results"],
        "additionalProperties": False,
    },
)
_EXAMPLE: Final = {
    "metadata": {"groups": ["customer.country"], "interval": None, "timezone": None},
    "results": [{"customer.country": "AU", "orders": 1, "revenue": 7.25}],
}
_TAG: Final = {"ETag": {"description": "Of the body.", "schema": {"type": "string"}}}
_SHARED: Final[dict[str, Any]] = {
    "tag": "Queries",
    "allows": "query, push/query and master keys, and filtered keys with `canQuery`",
    "errors": {
        413: f"Over {MAX_RESULT_ROWS:,} rows, or over {MAX_INTERVALS:,} intervals.",
        422: "The query, by field; also one that took too long.",
    },
}
_ANSWERED: Final = Answer(
    "The rows. A collection nobody has pushed to answers like an empty one.", json_content(_ANSWER, _EXAMPLE), _TAG
)
_QUERY: Final = Description(
    id="query",
    summary="Ask a question",
    details="JSON5 is read as well, up to 4,096 characters.",
    parameters=[
        COLLECTION,
        {"name": "query", "in": "query", "required": True, "content": json_content(QUERY)},
        {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}},
    ],
    answers={200: _ANSWERED, 304: Answer("The answer has the ETag that was sent.", headers=_TAG)},
    **_SHARED,
)
_QUERY_BY_BODY: Final = Description(
    id="queryByBody",
    summary="Ask a question that is too long for an address",
    details=f"The same question as a body, of up to {MAX_QUERY_BYTES:,} bytes; strict JSON.",
    parameters=[COLLECTION],
    body=json_body(QUERY, {"select": {"orders": "count"}, "groupBy": "customer.country"}),
    answers={200: _ANSWERED},
    **{**_SHARED, "errors": {400: "Not valid gzip.", 415: "A Content-Encoding other than gzip.", **_SHARED["errors"]}},
)


class QueryRoutes:
    """``clock``: seconds since 1970."""

    def __init__(
        self, auth: Authenticator, store: Store, parsing: Parsing, reads: Reads, bodies: Bodies, clock: Clock
    ) -> None:
        self._auth = auth
        self._store = store
        self._parsing = parsing
        self._bodies = bodies
        self._clock = clock
        self._reads = reads

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return [
            Operation("GET", "/events/{collection}", self.query, _QUERY),
            Operation("POST", "/events/{collection}/query", self.query_by_body, _QUERY_BY_BODY),
        ]

    async def query(self, request: Request) -> Response:
        """``{"metadata": …, "results": […]}``; 304 without a body when the sender has this answer already."""
        grant = self._auth.require(request, "query")
        body, tag = await self._ask(request, grant, collection_of(request), request.query_params.get("query"))
        if _has(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers={"ETag": tag}, media_type=JSON)
        return document(body, {"ETag": tag})

    async def query_by_body(self, request: Request) -> Response:
        """The same answer to the same document."""
        grant = self._auth.require(request, "query")
        collection = collection_of(request)
        async with self._bodies.read(request, MAX_QUERY_BYTES) as text:
            body, tag = await self._ask(request, grant, collection, text)
        return document(body, {"ETag": tag})

    async def _ask(
        self, request: Request, grant: Grant, collection: str, text: str | bytes | None
    ) -> tuple[bytes, str]:
        """The encoded answer and its ETag. A collection nobody has pushed to answers like an empty one."""
        now = self._clock()
        query = await self._parsing.run(parse_query, text, now)
        check_intervals(query, now)
        narrowed = replace(query, filters=grant.filters + query.filters)
        ask = partial(_answer, self._store, grant.project, collection, narrowed, now)
        try:
            return await self._reads.run(request, grant, ask)
        except QueryTimeoutError as error:  # it would take as long again: no 503, after which clients try again
            raise RefusedFieldsError({"query": f"{error}, such as a shorter timeframe"}) from None


def _answer(
    store: Store, project: str, collection: str, query: Query, now: float, stopped: threading.Event
) -> tuple[bytes, str]:
    body = msgspec.json.encode(answer(query, store.query(project, collection, query, stopped), now))
    return body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def _has(tags: str, tag: str) -> bool:
    """Whether ``If-None-Match`` names the tag; weakly, as it is to be read."""
    return tags.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in tags.split(","))
