"""The document that asks for a transfer with S3.

    {"collection" or "query", "s3Path", "s3AccessKeyId", "s3SecretAccessKey"}   and as one needs them
    {"s3Region", "s3Endpoint", "s3SessionToken"}

Names that are not known are ignored, as at the top of a query. A value never comes back in an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ..answers import RefusedError, RefusedFieldsError
from ..s3.addresses import Credentials

_REQUIRED: Final = ("s3Path", "s3AccessKeyId", "s3SecretAccessKey")
_OPTIONAL: Final = ("s3Region", "s3Endpoint", "s3SessionToken")
_MAX_LENGTH: Final = 8_192
"""Characters. A session token has some 1,000."""


class Asked(NamedTuple):
    """``document``: all of it. ``path``, ``region`` and ``endpoint``: still to be checked."""

    document: Mapping[str, Any]
    path: str
    region: str | None
    endpoint: str | None
    credentials: Credentials


def read_asked(body: bytes) -> Asked:
    """The document in ``body``. Raises RefusedError for what is none, RefusedFieldsError."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise RefusedError(400, "the body must be JSON") from None  # the reason might hold a part of it
    if not isinstance(document, dict):
        raise RefusedError(400, "the body must be a JSON object")
    errors = {}
    for name in (*_REQUIRED, *_OPTIONAL):
        value = document.get(name)
        if value is None and name in _OPTIONAL:
            continue
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_LENGTH:
            errors[name] = "missing" if name not in document else f"a text of 1 to {_MAX_LENGTH:,} characters"
        elif name not in ("s3Path", "s3Endpoint") and not (value.isascii() and value.isprintable()):
            errors[name] = "a text of ASCII characters"
    if errors:
        raise RefusedFieldsError(errors)
    path, access_key, secret_key = (document[name] for name in _REQUIRED)
    region, endpoint, token = map(document.get, _OPTIONAL)
    return Asked(document, path, region, endpoint, Credentials(access_key, secret_key, token))
