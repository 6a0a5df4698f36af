"""What requests read from the store: in fair turns, in threads, and no longer than somebody waits for it.

Invariants: a read that has begun has a turn until it ends; when its client goes, or the server stops, it is stopped,
and one that is still waiting is given up; nobody waits for a turn longer than ``patience``; what a client is not told
of why a read failed is in the log, once until one is answered.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from .answers import RefusedError
from .auth import Grant
from .observing import ReadOutcome
from .stores.base import QueryTimeoutError, StoppedError, StoreError
from .threads import finish
from .turns import Turns

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_TOO_MANY: Final = "too many queries at a time: try again later"


class Reads:
    """``total``: reads at a time. ``patience``: seconds. ``count`` is told of each that has ended."""

    def __init__(
        self, total: int, patience: float, count: Callable[[ReadOutcome], object] = lambda outcome: None
    ) -> None:
        self.turns = Turns(total)
        self._threads = anyio.CapacityLimiter(total)
        self._patience = patience
        self._count = count
        self._is_failing = False

    async def run(self, request: Request, grant: Grant, read: Callable[[threading.Event], Result]) -> Result:
        """``read(stopped)`` in a thread, which has to end soon after ``stopped`` is set. The body must have been read.

        Raises what ``read`` raises, RefusedError when there is no turn, ClientDisconnect when the client has gone.
        """
        outcome: ReadOutcome = "failed"
        try:
            result = await self._run(request, grant, read)
            outcome = "answered"
            self._is_failing = False
        except QueryTimeoutError:
            outcome = "timed_out"
            raise
        except StoreError as error:
            if error.told != str(error) and not self._is_failing:
                self._is_failing = True
                _log.warning("%s", error)
            raise
        except RefusedError:
            outcome = "refused"
            raise
        except (StoppedError, ClientDisconnect, anyio.get_cancelled_exc_class()):
            outcome = "stopped"
            raise
        finally:
            self._count(outcome)
        return result

    async def _run(self, request: Request, grant: Grant, read: Callable[[threading.Event], Result]) -> Result:
        stopped = threading.Event()
        waiting = anyio.CancelScope()
        watching = asyncio.create_task(_watch(request, stopped, waiting))
        try:
            async with AsyncExitStack() as turn:
                with waiting:
                    await self._turn(turn, request, grant)
                if stopped.is_set():
                    raise ClientDisconnect
                return await finish(anyio.to_thread.run_sync(read, stopped, limiter=self._threads), stopped.set)
        finally:
            watching.cancel()

    async def _turn(self, stack: AsyncExitStack, request: Request, grant: Grant) -> None:
        """Keep a turn in ``stack``."""
        try:
            with anyio.fail_after(self._patience):
                await stack.enter_async_context(self.turns.turn(grant.project, hash(request.headers.get("x-api-key"))))
        except TimeoutError:
            raise RefusedError(503, _TOO_MANY, {"Retry-After": "1"}) from None


async def _watch(request: Request, stopped: threading.Event, waiting: anyio.CancelScope) -> None:
    """When the client goes, stop its read, or the waiting for it."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    stopped.set()
    waiting.cancel()
