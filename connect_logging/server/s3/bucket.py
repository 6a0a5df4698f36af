"""Reading an object and writing one, with credentials that nothing keeps.

Invariants: credentials are in memory only, for as long as a transfer waits or runs; no message, log or ``repr`` shows
them, nor anything that S3 has sent back but an error's code, which is a word; only the addresses are used that
:mod:`.addresses` has found at the beginning.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from urllib3.exceptions import HTTPError

from ...exceptions import ConnectError
from .addresses import Credentials, Endpoints, Place, UnreachableError
from .pinned import ElsewhereError, PinnedSender

PIECE_BYTES: Final = 256 * 1024
_PART_BYTES: Final = 16 * 1024 * 1024
"""Of an upload; larger objects go in parts."""
_ATTEMPTS: Final = 4
_RESUMES: Final = 5
"""Times that a download whose connection broke goes on from where it was."""
_NO_SURROUNDINGS: Final = {
    name: (None, None, default, None)
    for name, default in (("profile", None), ("config_file", os.devnull), ("credentials_file", os.devnull))
}
"""What botocore would take from the environment and the files of whoever runs the server."""
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
_REDIRECTS: Final = {
    "301",
    "302",
    "307",
    "308",
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
}
_ELSEWHERE: Final = "S3 sends the request elsewhere, which is not followed: is s3Region that of the bucket?"
_BROKEN: Final = (ReadTimeoutError, ResponseStreamingError, IncompleteReadError, HTTPError)

# At DEBUG it writes down what it signs, a session token included.
logging.getLogger("botocore").setLevel(logging.INFO)


class S3Error(ConnectError):
    """S3 could not be reached, or refused; the message says which, and holds nothing that it sent but a code."""


class S3:
    """Makes clients. Safe to share between threads."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._making = threading.Lock()
        self._session = boto3.session.Session(botocore_session=botocore.session.Session(_NO_SURROUNDINGS))

    @contextmanager
    def open(self, place: Place, credentials: Credentials) -> Iterator[Bucket]:
        """The bucket of ``place`` while the block lasts. Blocks. Raises S3Error."""
        try:
            sender = PinnedSender(place.endpoint, self._endpoints.addresses(place.endpoint))
        except UnreachableError as error:
            raise S3Error(str(error)) from None
        with self._making:
            client = self._session.client(
                "s3",
                endpoint_url=place.endpoint.url,
                region_name=place.region,
                aws_access_key_id=credentials.access_key,
                aws_secret_access_key=credentials.secret_key,
                aws_session_token=credentials.session_token,
                config=Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "path"},
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
        client.meta.events.register("before-send.s3", sender)
        try:
            yield Bucket(client, place)
        finally:
            client.close()
            sender.close()


class Bucket:
    """The bucket of ``place``, for one transfer on one thread."""

    def __init__(self, client: Any, place: Place) -> None:
        self._client = client
        self._at = {"Bucket": place.bucket, "Key": place.key}
        self._place = place

    def read(self) -> Object:
        """The object, whose content is still to be read. Raises S3Error."""
        with _errors():
            return Object(self._client, self._at, self._place)

    def write(self, name: str, file: IO[bytes], on_progress: Callable[[int], object]) -> None:
        """Put the content of ``file`` into the object ``name`` below the place. Raises S3Error.

        ``on_progress`` is called with numbers of bytes that have been sent; negative ones when some are sent again. An
        upload in which it raises is given up.
        """
        config = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False)
        with _errors():
            self._client.upload_fileobj(
                file,
                self._place.bucket,
                self._place.key + name,
                ExtraArgs={"ContentType": "application/x-ndjson"},
                Callback=on_progress,
                Config=config,
            )


class Object:
    """An object that is being read. ``size``: bytes. ``identity``: its own, until it is written again."""

    def __init__(self, client: Any, at: dict[str, str], place: Place) -> None:
        self._client = client
        self._at = at
        self._answer = client.get_object(**at)
        self.size = int(self._answer["ContentLength"])
        modified = self._answer["LastModified"].isoformat()
        named = "\n".join([place.endpoint.url, place.bucket, place.key, self._answer["ETag"], modified])
        self.identity = hashlib.blake2b(named.encode(), digest_size=16).digest()

    def pieces(self) -> Iterator[bytes]:
        """The content. A connection that breaks is made again, from where it was. Raises S3Error."""
        position = 0
        for attempt in range(_RESUMES + 1):
            with _errors():
                if attempt:
                    self._answer = self._client.get_object(
                        **self._at, Range=f"bytes={position}-", IfMatch=self._answer["ETag"]
                    )
                try:
                    for piece in self._answer["Body"].iter_chunks(PIECE_BYTES):
                        position += len(piece)
                        yield piece
                except _BROKEN:
                    if attempt == _RESUMES:
                        raise
                if position == self.size:
                    return
        raise S3Error("the object broke off too often")


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what botocore raises into an S3Error."""
    try:
        yield
    except ElsewhereError:
        raise S3Error(_ELSEWHERE) from None
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _REDIRECTS:
            raise S3Error(_ELSEWHERE) from None
        raise S3Error(f"S3 answered {code if _CODE.fullmatch(code) else 'with an error'}") from None
    except (BotoCoreError, HTTPError, OSError) as error:
        raise S3Error(f"S3 could not be reached: {type(error).__name__}") from None
