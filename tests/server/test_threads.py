"""Work in a thread is waited for, however often the one who waits is cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest

from connect_logging.server.threads import finish


def test_its_result_and_its_error_are_those_of_the_work() -> None:
    assert asyncio.run(finish(asyncio.to_thread(lambda: 7))) == 7
    with pytest.raises(ZeroDivisionError):
        asyncio.run(finish(asyncio.to_thread(lambda: 1 / 0)))


@pytest.mark.parametrize("times", [1, 3])
def test_a_task_that_is_cancelled_ends_after_its_work(times: int) -> None:
    stop, ended = threading.Event(), threading.Event()
    told: list[str] = []

    def work() -> None:
        stop.wait()
        ended.set()

    async def scene() -> None:
        task = asyncio.create_task(finish(asyncio.to_thread(work), lambda: told.append("cancelled")))
        await asyncio.sleep(0)
        for _ in range(times):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        assert not task.done()
        stop.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(scene())
    assert told == ["cancelled"]
