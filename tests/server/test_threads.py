"""Work in a thread is waited for, however often the one who waits is cancelled; many futures wake a loop once; an error
that came through one keeps nothing.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from connect_logging.server.threads import Waits, finish, let_go


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


def test_futures_that_are_resolved_together_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    futures = [Future[int]() for _ in range(100)]
    woken: list[object] = []

    async def scene() -> list[int | BaseException]:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: (woken.append(call), wake(*call)))
        waits = Waits()
        tasks = [asyncio.create_task(waits.result(future)) for future in futures]
        await asyncio.sleep(0)
        thread = threading.Thread(target=resolve)
        thread.start()
        thread.join()  # the loop has not looked meanwhile
        return await asyncio.gather(*tasks, return_exceptions=True)

    def resolve() -> None:
        for number, future in enumerate(futures[:-1]):
            future.set_result(number)
        futures[-1].set_exception(KeyError("lost"))

    *results, failed = asyncio.run(scene())
    assert results == [*range(99)]
    assert isinstance(failed, KeyError)
    assert len(woken) == 1


def test_none_is_forgotten_that_is_resolved_while_the_loop_looks() -> None:
    waits = Waits()

    async def scene() -> None:
        for _ in range(30):
            futures = [Future[int]() for _ in range(20)]
            tasks = [asyncio.create_task(waits.result(future)) for future in futures]
            await asyncio.sleep(0)
            threads = [threading.Thread(target=future.set_result, args=[0]) for future in futures]
            for thread in threads:
                thread.start()
            assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [0] * 20

    asyncio.run(scene())
    asyncio.run(scene())  # another loop


def test_who_is_cancelled_cancels_what_it_waits_for() -> None:
    future: Future[int] = Future()

    async def scene() -> None:
        task = asyncio.create_task(Waits().result(future))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()

    asyncio.run(scene())


def test_an_error_lets_go_of_all_that_led_to_it() -> None:
    def cause() -> None:
        raise KeyError("the cause")

    def context() -> None:
        raise ValueError("the context")

    def fail() -> None:
        try:
            context()
        except ValueError:
            try:
                cause()
            except KeyError as error:
                raise RuntimeError("both") from error

    try:
        fail()
    except RuntimeError as error:
        let_go(error)
        chain = [error, error.__cause__, error.__cause__ and error.__cause__.__context__]
    assert [type(each) for each in chain] == [RuntimeError, KeyError, ValueError]
    assert [each.__traceback__ for each in chain if each] == [None] * 3


def test_errors_that_led_to_each_other_have_an_end() -> None:
    first, second = KeyError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    let_go(first)
