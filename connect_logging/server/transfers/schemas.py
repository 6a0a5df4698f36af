"""The schemas of imports and exports in the OpenAPI document: what asks for them, and their jobs."""

from __future__ import annotations

from typing import Any, Final

from ..openapi import COLLECTION, Component, Json
from ..s3.addresses import A_REGION
from ..schemas import EXPORT_QUERY
from .importing import MAX_ERRORS

LOCATION: Final[Json] = {"Location": {"description": "Where the job is told of.", "schema": {"type": "string"}}}
JOB_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "As in `Location`.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{24}$"},
    "example": "0123456789abcdef01234567",
}
NO_SUCH_JOB: Final = "The project has no such job."

_COUNT: Final = {"type": "integer", "minimum": 0}
_PERCENT: Final = {"type": "integer", "minimum": 0, "maximum": 100}
_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_SECRET: Final = {"type": "string", "minLength": 1, "maxLength": 8_192, "pattern": "^[ -~]+$"}
_S3: Final[dict[str, Any]] = {
    "s3Path": {
        "description": "`s3://bucket/key`, `https://bucket.s3.amazonaws.com/key`, or below an endpoint that the server"
        " lists. Of an export: the folder.",
        "type": "string",
    },
    "s3AccessKeyId": _SECRET,
    "s3SecretAccessKey": {"description": "Kept until the transfer has ended, and in memory only.", **_SECRET},
    "s3SessionToken": {"anyOf": [{"type": "null"}, _SECRET]},
    "s3Region": {"type": ["string", "null"], "pattern": f"^{A_REGION}$", "examples": ["eu-west-1"]},
    "s3Endpoint": {"description": "AWS, or one that the server lists.", "type": ["string", "null"]},
}
_S3_REQUIRED: Final = ("s3Path", "s3AccessKeyId", "s3SecretAccessKey")
_PLACE: Final = {"s3Path": "s3://bucket/events.json.gz", "s3AccessKeyId": "AKIA...", "s3SecretAccessKey": "..."}
_JOB: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "collection": {"type": "string"},
    "status": {"enum": ["Pending", "Running", "Complete", "Failed"]},
    "created": {"type": "string", "format": "date-time"},
    "started": _TIME,
    "finished": _TIME,
    "error": {"description": "Why it failed.", "type": ["string", "null"]},
}
_IMPORT: Final[dict[str, Any]] = {
    **_JOB,
    "lines": {"description": "Done: what they hold is stored.", **_COUNT},
    "importedEvents": _COUNT,
    "duplicateEvents": _COUNT,
    "failedEvents": _COUNT,
    "percentComplete": {"description": "Of the bytes of the source, where their number is known.", **_PERCENT},
    "insertRate": {"type": "string", "examples": ["15096/s"]},
    "eventErrors": {
        "description": f"Of the first {MAX_ERRORS} failed events.",
        "type": "array",
        "maxItems": MAX_ERRORS,
        "items": {
            "type": "object",
            "properties": {
                "index": {"description": "The number of the line, from 1.", "type": "integer", "minimum": 1},
                "error": {"type": "string"},
            },
            "required": ["index", "error"],
            "additionalProperties": False,
        },
    },
}
_EXPORT: Final[dict[str, Any]] = {
    **_JOB,
    "filename": {"description": "Of the object, below `s3Path`.", "type": "string"},
    "percentDone": _PERCENT,
    "transferredBytes": _COUNT,
    "totalBytes": {"description": "0 until the events are gathered.", **_COUNT},
}

IMPORT_JOB: Final = Component(
    "ImportJob", {"type": "object", "properties": _IMPORT, "required": [*_IMPORT], "additionalProperties": False}
)
EXPORT_JOB: Final = Component(
    "ExportJob", {"type": "object", "properties": _EXPORT, "required": [*_EXPORT], "additionalProperties": False}
)
IMPORT_FROM_S3: Final = Component(
    "ImportFromS3",
    {
        "type": "object",
        "description": "Names that are not listed are ignored.",
        "properties": {"collection": COLLECTION["schema"], **_S3},
        "required": ["collection", *_S3_REQUIRED],
        "examples": [{"collection": "purchases", **_PLACE}],
    },
)
EXPORT_TO_S3: Final = Component(
    "ExportToS3",
    {
        "type": "object",
        "description": "Names that are not listed are ignored.",
        "properties": {"query": EXPORT_QUERY, **_S3},
        "required": ["query", *_S3_REQUIRED],
        "examples": [{"query": {"timeframe": "this_month"}, **_PLACE, "s3Path": "s3://bucket/exports/"}],
    },
)
