"""What a request names in its path."""

from __future__ import annotations

from starlette.requests import Request

from ..rules import collection_violation
from .answers import RefusedFieldsError


def collection_of(request: Request) -> str:
    """The path's ``{collection}``. Raises RefusedFieldsError for what can name none."""
    name: str = request.path_params["collection"]
    message = collection_violation(name)
    if message:
        raise RefusedFieldsError({"collection": message})
    return name
