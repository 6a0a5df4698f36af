"""Getting events out: ``GET /events/{collection}/export?query=``, with ``&format=`` as a download of any size, and
``POST /events/{collection}/export`` into an object in S3, with a job that tells of it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import anyio.to_thread
import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from ..._grammar.model import Query
from ..._types import Clock
from ..answers import JSON, RefusedError, RefusedFieldsError, document
from ..auth import Authenticator, Grant
from ..body import read_body
from ..downloads import Downloads, Pieces
from ..openapi import COLLECTION, Answer, Description, Operation, json_body, json_content
from ..parameters import collection_of
from ..parsing import Parsing
from ..query.parser import parse_export_query
from ..schemas import EXPORT_QUERY, EXPORTED
from ..stores.base import Form, Store
from ..transfers.asking import read_asked
from ..transfers.jobs import ExportJob
from ..transfers.jobs import document as told
from ..transfers.schemas import EXPORT_JOB, EXPORT_TO_S3, JOB_ID, LOCATION, NO_SUCH_JOB
from ..transfers.service import Transfers

MAX_EVENTS: Final = 10_000
"""Of a small export; documented."""


MAX_DOCUMENT: Final = 1_048_576
"""Bytes of the document that asks for an export to S3; the query is in it."""

_KEYS: Final = "query, push/query and master keys, and filtered keys with `canQuery`"


class _Format(NamedTuple):
    form: Form
    media_type: str


_FORMATS: Final = {
    "jsonl": _Format("jsonl", "application/x-ndjson"),
    "csv": _Format("csv", "text/csv; charset=utf-8; header=present"),
    "parquet": _Format("parquet", "application/vnd.apache.parquet"),
}
_EXPORT = Description(
    id="export",
    tag="Exports",
    summary="Get events",
    details="Without `format` up to 10,000 events, as Connect has it. With it, all of them: the body has no length, and"
    " one that was cut off lacks its last chunk. By timestamp, then by id.",
    allows=_KEYS,
    parameters=[
        COLLECTION,
        {"name": "query", "in": "query", "required": True, "content": json_content(EXPORT_QUERY)},
        {
            "name": "format",
            "in": "query",
            "description": "`csv` and `parquet` have a column for each property.",
            "schema": {"enum": [*_FORMATS]},
        },
    ],
    answers={
        200: Answer(
            "The events. A collection nobody has pushed to is exported like an empty one.",
            {
                **json_content(
                    {
                        "type": "object",
                        "properties": {"results": {"type": "array", "items": EXPORTED, "maxItems": MAX_EVENTS}},
                        "required": ["results"],
                        "additionalProperties": False,
                    },
                    {"results": [{"id": "order-1", "timestamp": "2026-03-01T09:30:00.000Z", "price": 7.25}]},
                ),
                "application/x-ndjson": {"schema": {"type": "string", "description": "An event a line."}},
                "text/csv": {"schema": {"type": "string", "description": "Names, then an event a line."}},
                "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
            },
        )
    },
    errors={
        413: "Over 10,000 events, without `format`; or over 1,000 properties, in `csv` or `parquet`.",
        422: "The query or `format`, by field.",
    },
)


_TO_S3 = Description(
    id="exportToS3",
    tag="Exports",
    summary="Write events into an object in S3",
    details="Up to 1,000,000 events, as JSON lines. 201 as soon as the export is waiting for its turn.",
    allows=_KEYS,
    parameters=[COLLECTION],
    body=json_body(EXPORT_TO_S3, None),
    answers={201: Answer("The job.", json_content(EXPORT_JOB), LOCATION)},
    errors={
        400: "The body is no JSON object.",
        413: "The body has over 1 MiB.",
        415: "A Content-Encoding other than gzip.",
        422: "What is wrong, by field.",
        501: "This server does not speak S3: an extra is not installed.",
    },
)
_STATUS = Description(
    id="exportStatus",
    tag="Exports",
    summary="How far an export to S3 has come",
    allows=_KEYS,
    parameters=[COLLECTION, JOB_ID],
    answers={200: Answer("Its job.", json_content(EXPORT_JOB))},
    errors={404: NO_SUCH_JOB, 422: "The collection's name can be none."},
)


class ExportRoutes:
    """``clock``: seconds since 1970."""

    def __init__(
        self,
        auth: Authenticator,
        store: Store,
        parsing: Parsing,
        downloads: Downloads,
        transfers: Transfers,
        clock: Clock,
    ) -> None:
        self._auth = auth
        self._store = store
        self._parsing = parsing
        self._downloads = downloads
        self._transfers = transfers
        self._clock = clock

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return [
            Operation("GET", "/events/{collection}/export", self.export, _EXPORT),
            Operation("POST", "/events/{collection}/export", self.start, _TO_S3),
            Operation("GET", "/events/{collection}/export/{id}", self.status, _STATUS),
        ]

    async def export(self, request: Request) -> Response:
        """``{"results": [event, …]}``, or in the format that is asked for."""
        grant = self._auth.require(request, "query")
        collection = collection_of(request)
        name = request.query_params.get("format")
        if name is not None and name not in _FORMATS:
            raise RefusedFieldsError({"format": f"one of {', '.join(_FORMATS)}"})
        query = await self._query(grant, request.query_params.get("query"))
        stopped = threading.Event()
        export = partial(self._store.export, grant.project, collection, query, stopped=stopped)
        if name is None:
            return self._downloads.answer(_results(export(form="connect", max_events=MAX_EVENTS)), stopped, JSON)
        form, media_type = _FORMATS[name]
        # The name of the file as RFC 6266 has it: a collection's may be in any script.
        disposition = f"attachment; filename=\"export.{name}\"; filename*=UTF-8''{quote(f'{collection}.{name}')}"
        return self._downloads.answer(export(form=form), stopped, media_type, {"Content-Disposition": disposition})

    async def start(self, request: Request) -> Response:
        """201 with the job, which waits for its turn."""
        grant = self._auth.require(request, "query")
        collection = collection_of(request)
        asked = read_asked(await read_body(request, MAX_DOCUMENT))
        if not isinstance(asked.document.get("query"), dict):
            raise RefusedFieldsError({"query": "an object; {} exports everything"})
        query = await self._query(grant, asked.document["query"])
        place = self._transfers.place(asked.path, asked.region, asked.endpoint, is_prefix=True)
        export = partial(self._transfers.export_to, grant.project, collection, query, place)
        job = await anyio.to_thread.run_sync(export, asked.credentials)
        location = f"{request.base_url}events/{quote(collection)}/export/{job.id}"
        return document(msgspec.json.encode(told(job)), {"Location": location}, status=201)

    async def status(self, request: Request) -> Response:
        """The job."""
        grant = self._auth.require(request, "query")
        collection = collection_of(request)
        find = partial(self._transfers.jobs.find, ExportJob, grant.project, request.path_params["id"])
        job = await anyio.to_thread.run_sync(find)
        if job is None or job.collection != collection:
            raise RefusedError(404, "there is no such export")
        return document(msgspec.json.encode(told(job)))

    async def _query(self, grant: Grant, query: str | Mapping[str, Any] | None) -> Query:
        """What is asked for, within the grant's filters."""
        parsed = await self._parsing.run(parse_export_query, query, self._clock())
        return replace(parsed, filters=grant.filters + parsed.filters)


def _results(lines: Pieces) -> Pieces:
    """JSON lines as one document: no line break is in an event."""
    before = b'{"results":['
    with closing(lines):
        for piece in lines:
            yield before + piece.removesuffix(b"\n").replace(b"\n", b",")
            before = b","
    yield b"]}" if before == b"," else before + b"]}"
