"""Work of other threads that a task waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def finish(work: Awaitable[Result], on_cancel: Callable[[], object] = lambda: None) -> Result:
    """``work`` to its end, also when the task is cancelled: what a thread uses must not be closed before.

    ``on_cancel`` may make it end soon.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        on_cancel()
        while not task.done():
            with suppress(asyncio.CancelledError):  # once more, by an impatient server
                await asyncio.wait([task])
        _ = task.cancelled() or task.exception()  # nobody is there to hear of it
        raise


def let_go(error: BaseException) -> None:
    """Have ``error``, and what led to it, let go of the frames that it has come through: to be called by the last who
    handles it.

    One that comes through a future is in a cycle, as some of these frames hold the future. With them all that they hold
    stays, such as the body of a request, until cycles are searched for, and a server does that seldom.
    """
    chain = [error]
    for each in chain:
        each.__traceback__ = None
        chain += [one for one in (each.__cause__, each.__context__) if one is not None and one not in chain]


class Waits:
    """Waits for futures that another thread resolves, many at once.

    ``asyncio.wrap_future`` wakes the event loop for each of them. That is a system call, for which the other thread
    lets the interpreter go, and a busy loop is slow to give it back. Here the loop is woken once for all that have been
    resolved until it looks.
    """

    def __init__(self) -> None:
        self._resolved: _Resolved | None = None

    async def result(self, future: Future[Result]) -> Result:
        """What ``future`` comes to. A task that is cancelled cancels it."""
        loop = asyncio.get_running_loop()
        if self._resolved is None or self._resolved.loop is not loop:
            self._resolved = _Resolved(loop)
        waiting = loop.create_future()
        resolved = self._resolved
        future.add_done_callback(lambda _: resolved.add(waiting))
        try:
            await waiting
        except asyncio.CancelledError:
            future.cancel()
            raise
        return future.result()


class _Resolved:
    """What waits in ``loop`` and need not any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_woken = False

    def add(self, waiting: asyncio.Future[None]) -> None:
        """From any thread."""
        self._waiting.append(waiting)
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                self.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_woken = False  # before looking: who adds from here on wakes once more
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
