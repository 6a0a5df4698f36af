"""Many events in: ``POST /event-import``, from an object in S3 or, with ``?collection=``, from the body itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ...exceptions import ConnectError
from ...rules import collection_violation
from ..answers import JSON, RefusedError, RefusedFieldsError, document
from ..auth import Authenticator, Grant
from ..body import is_packed, read_body
from ..openapi import COLLECTION, Answer, Description, Operation, json_content
from ..stores.base import StoppedError, StoreError, TooManyError
from ..threads import finish
from ..transfers.asking import read_asked
from ..transfers.jobs import ImportJob
from ..transfers.jobs import document as told
from ..transfers.lines import DamagedSourceError
from ..transfers.schemas import IMPORT_FROM_S3, IMPORT_JOB, JOB_ID, LOCATION, NO_SUCH_JOB
from ..transfers.service import Transfers

MAX_DOCUMENT: Final = 65_536
"""Bytes of the document that asks for an import from S3."""
_TOO_MANY: Final = RefusedError(503, "too many uploads at a time: try again later", {"Retry-After": "5"})
_LINES: Final = "application/x-ndjson"

_IMPORT = Description(
    id="import",
    tag="Imports",
    summary="Import events",
    details="From an object in S3 (JSON): 201 as soon as the import is waiting for its turn. With `collection` in the"
    " query, from JSON lines in the body, which may be gzip: 201 when it is done.",
    allows="push, push/query and master keys, and filtered keys with `canPush`",
    parameters=[
        {
            "name": "collection",
            "in": "query",
            "description": "Where the lines in the body belong. An import from S3 says it in its document.",
            "schema": COLLECTION["schema"],
        }
    ],
    body={
        "required": True,
        "content": {**json_content(IMPORT_FROM_S3), _LINES: {"schema": {"type": "string"}}},
    },
    answers={201: Answer("The job.", json_content(IMPORT_JOB), LOCATION)},
    errors={
        400: "What asks for an import is no JSON object; or the body is no gzip, and its job has failed.",
        413: "What asks for an import has over 65,536 bytes; or of lines: one collection more than a project may have.",
        415: "A Content-Encoding other than gzip.",
        422: "What is wrong, by field.",
        501: "This server does not speak S3: an extra is not installed.",
    },
)
_IMPORTS = Description(
    id="listImports",
    tag="Imports",
    summary="The last imports, the newest first",
    details="Up to 100 that have ended, and all others.",
    allows="query, push/query and master keys",
    answers={
        200: Answer(
            "Their jobs.",
            json_content(
                {
                    "type": "object",
                    "properties": {"imports": {"type": "array", "items": IMPORT_JOB}},
                    "required": ["imports"],
                    "additionalProperties": False,
                }
            ),
        )
    },
)
_STATUS = Description(
    id="importStatus",
    tag="Imports",
    summary="How far an import has come",
    allows="push, push/query and master keys, and filtered keys with `canPush`",
    parameters=[JOB_ID],
    answers={200: Answer("Its job.", json_content(IMPORT_JOB))},
    errors={404: NO_SUCH_JOB},
)


class BrokenOffError(ConnectError):
    """The client went before its upload was whole."""


class ImportRoutes:
    """``uploads``: at a time."""

    def __init__(self, auth: Authenticator, transfers: Transfers, uploads: int) -> None:
        self._auth = auth
        self._transfers = transfers
        self._uploads = anyio.CapacityLimiter(uploads)
        self._threads = anyio.CapacityLimiter(uploads)

    def routes(self) -> list[Operation]:
        """For the app's route table."""
        return [
            Operation("POST", "/event-import", self.start, _IMPORT),
            Operation("GET", "/event-import", self.list, _IMPORTS),
            Operation("GET", "/event-import/{id}", self.status, _STATUS),
        ]

    async def start(self, request: Request) -> Response:
        """201 with the job: which waits, of an object in S3; which has ended, of lines in the body."""
        grant = self._auth.require(request, "push")
        collection = request.query_params.get("collection")
        if collection is None:
            return await self._from_s3(request, grant)
        message = collection_violation(collection)
        if message or request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON:
            lines = f"JSON lines go with it, Content-Type {_LINES}; what asks for S3 has it in the document"
            raise RefusedFieldsError({"collection": message or lines})
        return await self._upload(request, grant, collection)

    async def list(self, request: Request) -> Response:
        """``{"imports": [job, …]}``."""
        grant = self._auth.require(request, "browse")
        jobs = await anyio.to_thread.run_sync(self._transfers.jobs.all_of, ImportJob, grant.project)
        return document(msgspec.json.encode({"imports": [told(job) for job in jobs]}))

    async def status(self, request: Request) -> Response:
        """The job."""
        grant = self._auth.require(request, "push")
        find = partial(self._transfers.jobs.find, ImportJob, grant.project, request.path_params["id"])
        job = await anyio.to_thread.run_sync(find)
        if job is None:
            raise RefusedError(404, "there is no such import")
        return document(msgspec.json.encode(told(job)))

    async def _from_s3(self, request: Request, grant: Grant) -> Response:
        asked = read_asked(await read_body(request, MAX_DOCUMENT))
        message = collection_violation(asked.document.get("collection"))
        if message:
            raise RefusedFieldsError({"collection": message})
        place = self._transfers.place(asked.path, asked.region, asked.endpoint, is_prefix=False)
        start = partial(self._transfers.import_from, grant.project, asked.document["collection"], place)
        return _created(request, await anyio.to_thread.run_sync(start, asked.credentials))

    async def _upload(self, request: Request, grant: Grant, collection: str) -> Response:
        packed = is_packed(request)
        announced = request.headers.get("content-length", "")
        try:
            self._uploads.acquire_on_behalf_of_nowait(request)
        except anyio.WouldBlock:
            raise _TOO_MANY from None
        try:
            job = await anyio.to_thread.run_sync(self._transfers.jobs.new_import, grant.project, collection)
            body = _Body(request.stream())
            upload = partial(
                self._transfers.upload,
                job,
                body.pieces(),
                is_packed=packed,
                size=int(announced) if announced.isdecimal() else None,
                stopped=body.stopped,
            )
            try:
                await finish(anyio.to_thread.run_sync(upload, limiter=self._threads), body.stop)
            except DamagedSourceError:
                raise self._failed(400, request, job) from None
            except TooManyError:
                raise self._failed(413, request, job) from None
            except StoreError:
                raise self._failed(503, request, job) from None
            except BrokenOffError:
                raise ClientDisconnect from None
            return _created(request, self._transfers.jobs.now(job))
        finally:
            self._uploads.release_on_behalf_of(request)

    def _failed(self, status: int, request: Request, job: ImportJob) -> RefusedError:
        return RefusedError(
            status, f"the import failed: {self._transfers.jobs.now(job).error}", {"Location": _location(request, job)}
        )


class _Body:
    """A body that a thread reads. To be made on the loop; ``stopped`` is set with :meth:`stop`."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self.stopped = threading.Event()
        self._stream = stream
        self._receiving: asyncio.Task[object] | None = None

    def pieces(self) -> Iterator[bytes]:
        """For the thread: what comes, when it has come. Raises BrokenOffError, StoppedError."""
        try:
            while (piece := anyio.from_thread.run(self._receive)) is not None:
                yield piece
        except ClientDisconnect:
            raise BrokenOffError("the upload broke off") from None
        except (anyio.RunFinishedError, CancelledError):  # the loop has ended, or did before it began to receive
            self.stopped.set()
        if self.stopped.is_set():
            raise StoppedError("the upload was stopped")

    def stop(self) -> None:
        """On the loop: the thread waits for nothing more."""
        self.stopped.set()
        if self._receiving is not None:
            self._receiving.cancel()

    async def _receive(self) -> bytes | None:
        """None at the end. Also once it is stopped: of a task that fails while the loop ends there is a traceback."""
        if self.stopped.is_set():
            return None
        self._receiving = asyncio.current_task()
        try:
            return await anext(self._stream, None)
        except asyncio.CancelledError:
            self.stopped.set()
            return None
        finally:
            self._receiving = None


def _created(request: Request, job: ImportJob) -> Response:
    return document(msgspec.json.encode(told(job)), {"Location": _location(request, job)}, status=201)


def _location(request: Request, job: ImportJob) -> str:
    return f"{request.base_url}event-import/{job.id}"
