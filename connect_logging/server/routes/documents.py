"""What the server says of itself: ``GET /openapi.json``."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..answers import document
from ..openapi import Answer, Description, Operation, json_content, openapi

_OPENAPI = Description(
    id="openapi",
    tag="Operations",
    summary="This document",
    allows=None,
    answers={200: Answer("An OpenAPI 3.1 document.", json_content({"type": "object", "required": ["openapi"]}))},
)


class DocumentRoutes:
    """``operations``: the app's others; the document has them and its own."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._own = [Operation("GET", "/openapi.json", self.openapi, _OPENAPI)]
        self._openapi = msgspec.json.encode(openapi([*operations, *self._own]))

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return self._own

    async def openapi(self, _: Request) -> Response:
        """The document, encoded once."""
        return document(self._openapi)
