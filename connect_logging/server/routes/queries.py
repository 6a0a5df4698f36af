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
from starlette.routing import Route

from ..._terms import MAX_RESULT_ROWS
from ...rules import collection_violation
from ..answers import RefusedError, RefusedFieldsError, document
from ..auth import Authenticator
from ..query.compiler import Row
from ..query.model import Query, dotted, parse_query
from ..stores.base import Store


class QueryRoutes:
    """``concurrent``: queries that run at a time."""

    def __init__(self, auth: Authenticator, store: Store, concurrent: int) -> None:
        self._auth = auth
        self._store = store
        self._turns = anyio.CapacityLimiter(concurrent)

    def routes(self) -> list[Route]:
        """For the app's route table."""
        return [Route("/events/{collection}", self.query, methods=["GET"])]

    async def query(self, request: Request) -> Response:
        """``{"metadata": …, "results": [row, …]}``; a collection nobody has pushed to answers like an empty one."""
        grant = self._auth.require(request, "query")
        collection = request.path_params["collection"]
        message = collection_violation(collection)
        if message:
            raise RefusedFieldsError({"collection": message})
        query = parse_query(request.query_params.get("query"))
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
