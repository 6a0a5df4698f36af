"""The shapes in which the server answers. SDKs parse these strictly; nothing else may leave it.

* 2xx: a JSON object, or an empty body that still has a ``Content-Type``.
* 422: ``{"errors": [{"field", "description"}, …]}``, each field once, except for batches.
* everything else: ``{"errorMessage": "…"}``.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from ..exceptions import ConnectError

JSON = "application/json"


class RefusedError(ConnectError):
    """A request that is answered with ``status`` and ``{"errorMessage": message}``."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        super().__init__(message)


class RefusedFieldsError(ConnectError):
    """A request that is answered 422 with ``errors``; ``{field: description}``, at least one."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{field}: {text}" for field, text in self.errors.items()))


def unauthorized() -> RefusedError:
    """The one answer to every wrong, missing or insufficient key: it tells nothing about which it was."""
    return RefusedError(401, "the project id or the API key is wrong, or the key may not do this")


def empty(headers: Mapping[str, str] | None = None) -> Response:
    """200 with no body: what all SDKs take for a stored event."""
    return Response(b"", headers=headers, media_type=JSON)


def document(body: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """200, or another that says that all is well, with an encoded JSON object."""
    return Response(body, status, headers, JSON)


def error_message(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Any error but 422."""
    return Response(msgspec.json.encode({"errorMessage": message}), status, headers, JSON)


def field_errors(errors: Mapping[str, str]) -> Response:
    """422. ``errors``: ``{field: description}``."""
    listed = [{"field": field, "description": description} for field, description in errors.items()]
    return Response(msgspec.json.encode({"errors": listed}), 422, media_type=JSON)
