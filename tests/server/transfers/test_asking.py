"""What asks for a transfer with S3: read strictly, and nothing of it shown again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connect_logging.server.answers import RefusedError, RefusedFieldsError
from connect_logging.server.transfers.asking import read_asked

SECRET = "canary/secret+key"
WHOLE = {"s3Path": "s3://b/k", "s3AccessKeyId": "AKIA", "s3SecretAccessKey": SECRET, "collection": "c", "other": 1}


def test_a_whole_document_is_read() -> None:
    asked = read_asked(json.dumps({**WHOLE, "s3Region": "eu-west-1", "s3SessionToken": "token"}).encode())
    assert (asked.path, asked.region, asked.endpoint) == ("s3://b/k", "eu-west-1", None)
    assert (asked.credentials.access_key, asked.credentials.secret_key, asked.credentials.session_token) == (
        "AKIA",
        SECRET,
        "token",
    )
    assert asked.document["collection"] == "c"
    assert SECRET not in repr(asked.credentials)


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        read_asked(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"s3Path": None}, ["s3Path"]),
        ({"s3Path": 3, "s3AccessKeyId": ""}, ["s3Path", "s3AccessKeyId"]),
        ({"s3SecretAccessKey": ["x"]}, ["s3SecretAccessKey"]),
        ({"s3SecretAccessKey": "a\nb"}, ["s3SecretAccessKey"]),
        ({"s3AccessKeyId": "é"}, ["s3AccessKeyId"]),
        ({"s3SessionToken": "x" * 8_193}, ["s3SessionToken"]),
        ({"s3Region": {}, "s3Endpoint": 0}, ["s3Region", "s3Endpoint"]),
    ],
)
def test_each_field_that_is_wrong_is_named(changes: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(RefusedFieldsError) as caught:
        read_asked(json.dumps({**WHOLE, **changes}).encode())
    assert list(caught.value.errors) == fields
    assert SECRET not in str(caught.value)


def test_missing_ones_are_called_missing() -> None:
    with pytest.raises(RefusedFieldsError) as caught:
        read_asked(b"{}")
    assert caught.value.errors == dict.fromkeys(("s3Path", "s3AccessKeyId", "s3SecretAccessKey"), "missing")
