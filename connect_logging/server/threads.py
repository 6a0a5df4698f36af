"""Work in threads that a task waits for to the end, also when the task is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def finish(work: Awaitable[Result], on_cancel: Callable[[], object] = lambda: None) -> Result:
    """``work`` to its end: what a thread uses must not be closed before. ``on_cancel`` may make it end soon."""
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
