"""What a request to ClickHouse's HTTP interface says: its statement, settings, parameters and user."""

from __future__ import annotations

import base64
import gzip
import hmac
import http.client
import re
import secrets
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import lz4.frame
from clickhouse_engine import EngineError, Statement

USER, PASSWORD = "connect", "canary-clickhouse-7c1b"

_NOT_SETTINGS = frozenset(
    {"query", "database", "user", "password", "quota_key", "role", "query_id", "default_format", "wait_end_of_query"}
    | {"session_id", "session_timeout", "session_check", "client_protocol_version", "buffer_size", "stacktrace"}
)
_MAX_FIELD = 128 * 1024
"""Bytes of a parameter, escaped, as ClickHouse's ``http_max_field_value_size`` has it."""
_INFLATE: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lz4.frame.decompress,
}


class Request(NamedTuple):
    """One request as it arrived: parameters of the address and of a form, header names in lower case, plain body.

    Of several fields ``query`` it has one, as ClickHouse does. ``longest``: bytes of the longest field.
    """

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    longest: int


def read_request(stream: Any) -> Request | None:
    """The next one; None when there is none, or not all of it."""
    line = stream.readline(1 << 20).split()
    if len(line) != 3:
        return None
    headers = {name.lower(): value for name, value in http.client.parse_headers(stream).items()}
    body = _read_body(stream, headers)
    if body is None:
        return None
    target = urlsplit(line[1].decode())
    fields = parse_qsl(target.query, keep_blank_values=True)
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        fields += _fields(kind, body)
        body = b""
    elif kind.startswith("application/x-www-form-urlencoded"):
        fields += parse_qsl(body.decode(), keep_blank_values=True)
        body = b""
    parameters = dict(fields)
    if "query" in parameters:
        parameters["query"] = "".join(value for name, value in fields if name == "query")
    longest = max((len(value.encode()) for _, value in fields), default=0)
    return Request(line[0].decode(), target.path, parameters, headers, body, longest)


def _read_body(stream: Any, headers: Mapping[str, str]) -> bytes | None:
    """None when it ends too early."""
    parts = []
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int(stream.readline(100).split(b";")[0] or b"-1", 16):
            part = stream.read(max(size, 0))
            if len(part) != size:
                return None
            parts.append(part)
            stream.readline(100)
        stream.readline(100)
    else:
        size = int(headers.get("content-length", 0))
        parts.append(stream.read(size))
        if len(parts[0]) < size:
            return None
    return _INFLATE[headers.get("content-encoding", "")](b"".join(parts))


def _fields(kind: str, body: bytes) -> list[tuple[str, str]]:
    """Those of a form, none of which is a file."""
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    found = []
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        [name] = re.findall(rb'\bname="([^"]*)"', head)
        found.append((name.decode(), value.removesuffix(b"\r\n").decode()))
    return found


def query_of(request: Request) -> bytes:
    """The text of its statement, with the data of an insert; empty when it only asks whether anybody is there."""
    given = request.parameters.get("query", "").encode()
    if request.path == "/ping":
        return b""
    return given + b"\n" + request.body if given and request.body else given or request.body


def statement_of(request: Request, text: bytes, form: str, data: bytes | None) -> Statement:
    """``text``, ``form`` and ``data`` with what else the request says."""
    parameters = request.parameters
    settings = {
        name: value for name, value in parameters.items() if name not in _NOT_SETTINGS and not name.startswith("param_")
    }
    if request.method == "GET":
        settings["readonly"] = "2"
    return Statement(
        text,
        form,
        data,
        database=parameters.get("database") or request.headers.get("x-clickhouse-database", ""),
        settings=settings,
        parameters={name[6:]: value for name, value in parameters.items() if name.startswith("param_")},
        query_id=parameters.get("query_id") or secrets.token_hex(16),
    )


def check(request: Request) -> None:
    """Raises EngineError unless it comes from the user, and has no more in a field than ClickHouse takes."""
    if request.longest > _MAX_FIELD:
        raise EngineError("Code: 1000. DB::Exception: HTML Form Exception: Field value too long. (POCO_EXCEPTION)")
    user = request.headers.get("x-clickhouse-user") or request.parameters.get("user", "default")
    password = request.headers.get("x-clickhouse-key") or request.parameters.get("password", "")
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        user, _, password = base64.b64decode(value).decode().partition(":")
    if user != USER or not hmac.compare_digest(password.encode(), PASSWORD.encode()):
        raise EngineError(
            f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user with"
            " such name. (AUTHENTICATION_FAILED)"
        )
