"""The OpenAPI document: put together from what each route says of itself.

A module of routes makes an :class:`Operation` for each path and method, with its parameters, body and answers beside
the method that answers. A schema that has a name is a :class:`Component`; it stands for itself in other schemas and
goes into the document when something there uses it.

Invariant: what every operation shares is said here alone: both shapes of errors, and what a request with a key may
always be answered (401, 429, 503).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .answers import JSON

Json: TypeAlias = Mapping[str, Any]
"""A part of the document, in which a Component may stand where a schema is expected."""


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """A schema with a name of its own. One that holds itself refers to :func:`reference` instead."""

    name: str
    schema: Json


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers when all is well. ``content``: by media type; empty: no body."""

    description: str
    content: Json = field(default_factory=dict)
    headers: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the document says of an operation.

    ``id``: unique, for generated clients. ``allows``: whose keys may use it, in words; None: it needs no key.
    ``answers``: by status, below 400. ``errors``: by status, when each is answered; its shape follows from the status.
    """

    id: str
    tag: str
    summary: str
    details: str = ""
    allows: str | None
    parameters: Sequence[Json] = ()
    body: Json | None = None
    answers: Mapping[int, Answer]
    errors: Mapping[int, str] = field(default_factory=dict)

    def object(self) -> dict[str, Any]:
        """The operation object of OpenAPI, with components in it."""
        errors = {**(_WITH_KEY if self.allows else {}), **(_WITH_BODY if self.body else {}), **self.errors}
        described = {
            "tags": [self.tag],
            "summary": self.summary,
            "description": f"{self.details}\n\n{f'For {self.allows}.' if self.allows else 'Needs no key.'}".strip(),
            "operationId": self.id,
            "security": _SECURITY if self.allows else [],
            "parameters": self.parameters,
            "responses": {
                **{str(status): _answer(answer) for status, answer in self.answers.items()},
                **{str(status): _error(status, when) for status, when in sorted(errors.items())},
            },
        }
        if self.body is not None:
            described["requestBody"] = self.body
        return described


class Operation(Route):
    """A route for one method, and what the document says of it."""

    def __init__(
        self, method: str, path: str, endpoint: Callable[[Request], Awaitable[Response]], description: Description
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.method = method
        self.description = description


def json_content(schema: Component | Json, example: Any = None) -> dict[str, Any]:
    """``content`` of an answer or a body: JSON of this schema."""
    media: dict[str, Any] = {"schema": schema}
    if example is not None:
        media["example"] = example
    return {JSON: media}


def json_body(schema: Component | Json, example: Any, description: str = "") -> dict[str, Any]:
    """A body that must be there, as JSON."""
    return {"required": True, "description": description, "content": json_content(schema, example)}


def reference(name: str) -> dict[str, str]:
    """A schema that is the component ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def openapi(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The document of those ``routes`` that are operations, ready to be encoded."""
    components: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if isinstance(route, Operation):
            described = _resolved(route.description.object(), components)
            paths.setdefault(route.path, {})[route.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "connect-logging",
            "version": version("connect-logging"),
            "summary": "The Connect protocol: push events, ask questions of them.",
            "description": _EVERYWHERE,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items())), "securitySchemes": _SCHEMES},
    }


def _resolved(value: Any, components: dict[str, Any]) -> Any:
    """``value`` with references in place of components, which are added to ``components``."""
    if isinstance(value, Component):
        if value.name not in components:
            components[value.name] = {}  # taken, should the schema hold itself
            components[value.name] = _resolved(value.schema, components)
        return reference(value.name)
    if isinstance(value, Mapping):
        return {name: _resolved(item, components) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(item, components) for item in value]
    return value


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.content:
        described["content"] = answer.content
    if answer.headers:
        described["headers"] = answer.headers
    return described


def _error(status: int, when: str) -> dict[str, Any]:
    schema = FIELD_ERRORS if status == 422 else ERROR_MESSAGE
    described: dict[str, Any] = {"description": when, "content": json_content(schema)}
    if status in _RETRY_AFTER:
        described["headers"] = {
            "Retry-After": {"description": "Seconds; where it is known.", "schema": {"type": "integer", "minimum": 0}}
        }
    return described


ERROR_MESSAGE: Final = Component(
    "ErrorMessage",
    {
        "type": "object",
        "description": "Every error but 422.",
        "properties": {"errorMessage": {"type": "string", "minLength": 1}},
        "required": ["errorMessage"],
        "additionalProperties": False,
        "examples": [{"errorMessage": "the project id or the API key is wrong, or the key may not do this"}],
    },
)
FIELD_ERRORS: Final = Component(
    "FieldErrors",
    {
        "type": "object",
        "description": "422: what is wrong, each field once.",
        "properties": {
            "errors": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {"field": {"type": "string"}, "description": {"type": "string", "minLength": 1}},
                    "required": ["field", "description"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["errors"],
        "additionalProperties": False,
        "examples": [
            {
                "errors": [
                    {"field": "customer.first.name", "description": "a property's name must not contain a dot"},
                ]
            }
        ],
    },
)
COLLECTION: Final[Json] = {
    "name": "collection",
    "in": "path",
    "required": True,
    "description": "Letters and digits of any script, `_`, and after the first also space, `.`, `:`, `-`; in Unicode"
    " form NFKC. `+` in the path is a space.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": r"^(?!errorMessage$)[\p{L}\p{N}_]([\p{L}\p{N}_ .:\-]*[\p{L}\p{N}_.:\-])?$",
    },
    "example": "purchases",
}
"""The parameter of a path that names a collection."""

_WITH_KEY: Final = {
    401: "The project, the key, or what the key may do: one answer for all.",
    429: "Too many wrong keys came from this address or for this project.",
    503: "The database cannot do it now; the same request may succeed later.",
}
_WITH_BODY: Final = {408: "The body came too slowly."}
_EVERYWHERE: Final = (
    "Errors have one of two shapes: FieldErrors with 422, ErrorMessage with everything else. Beside what each operation"
    " lists, any request may be answered 400 (it is not HTTP), 408, 414 or 431 (its head is too slow or too long), 500"
    " (the server failed; its log says why) and 503 (too many connections, or the server is stopping). OPTIONS is"
    " answered everywhere, for pages of any origin."
)
_RETRY_AFTER: Final = (429, 503)
_SECURITY: Final[list[dict[str, list[str]]]] = [{"ProjectId": [], "ApiKey": []}]
_SCHEMES: Final = {
    "ProjectId": {"type": "apiKey", "in": "header", "name": "X-Project-Id", "description": "24 hex digits."},
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "A key of the project, or a filtered key. Without `X-Project-Id`: `PROJECT-KEY`.",
    },
}
