"""Getting events out: ``GET /events/{collection}/export?query=``, and with ``&format=`` as a download of any size."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import quote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from ..._types import Clock
from ..answers import JSON, RefusedFieldsError
from ..auth import Authenticator
from ..downloads import Downloads, Pieces
from ..openapi import COLLECTION, Answer, Description, Operation, json_content
from ..parameters import collection_of
from ..query.parser import parse_export_query
from ..schemas import EXPORT_QUERY, EXPORTED
from ..stores.base import Form, Store

MAX_EVENTS: Final = 10_000
"""Of a small export; documented."""


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
    allows="query, push/query and master keys, and filtered keys with `canQuery`",
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


class ExportRoutes:
    """``clock``: seconds since 1970."""

    def __init__(self, auth: Authenticator, store: Store, downloads: Downloads, clock: Clock) -> None:
        self._auth = auth
        self._store = store
        self._downloads = downloads
        self._clock = clock

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return [Operation("GET", "/events/{collection}/export", self.export, _EXPORT)]

    async def export(self, request: Request) -> Response:
        """``{"results": [event, …]}``, or in the format that is asked for."""
        grant = self._auth.require(request, "query")
        collection = collection_of(request)
        name = request.query_params.get("format")
        if name is not None and name not in _FORMATS:
            raise RefusedFieldsError({"format": f"one of {', '.join(_FORMATS)}"})
        # In a thread: to read JSON5 may take a tenth of a second.
        query = await anyio.to_thread.run_sync(parse_export_query, request.query_params.get("query"), self._clock())
        narrowed = replace(query, filters=grant.filters + query.filters)
        stopped = threading.Event()
        export = partial(self._store.export, grant.project, collection, narrowed, stopped=stopped)
        if name is None:
            return self._downloads.answer(_results(export(form="connect", max_events=MAX_EVENTS)), stopped, JSON)
        form, media_type = _FORMATS[name]
        # The name of the file as RFC 6266 has it: a collection's may be in any script.
        disposition = f"attachment; filename=\"export.{name}\"; filename*=UTF-8''{quote(f'{collection}.{name}')}"
        return self._downloads.answer(export(form=form), stopped, media_type, {"Content-Disposition": disposition})


def _results(lines: Pieces) -> Pieces:
    """JSON lines as one document: no line break is in an event."""
    before = b'{"results":['
    with closing(lines):
        for piece in lines:
            yield before + piece.removesuffix(b"\n").replace(b"\n", b",")
            before = b","
    yield b"]}" if before == b"," else before + b"]}"
