"""Turns are given in rounds, and none is lost, whoever leaves when."""

from __future__ import annotations

import asyncio
import random

import pytest

from connect_logging.server.turns import Turns


class Desk:
    """Asks for turns, and notes who got one in which order. Each is kept until :meth:`done` is called for it."""

    def __init__(self, total: int) -> None:
        self.turns = Turns(total)
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, project: str, key: int = 0) -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._take(name, project, key))
        await self.settle()

    async def done(self, name: str) -> None:
        self._ends[name].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _take(self, name: str, project: str, key: int) -> None:
        async with self.turns.turn(project, key):
            self.begun.append(name)
            await self._ends[name].wait()


def test_who_asks_often_does_not_keep_others_waiting() -> None:
    async def scene() -> list[str]:
        desk = Desk(2)
        for number in range(4):
            await desk.ask(f"greedy{number}", "greedy")
        assert desk.begun == ["greedy0"], "one turn is left for another project"
        await desk.ask("other0", "other")
        await desk.ask("other1", "other")
        assert (desk.turns.running, desk.turns.waiting) == (2, 4)
        for name in ("other0", "greedy0", "other1"):
            await desk.done(name)
        assert (desk.turns.running, desk.turns.waiting) == (1, 2)
        for name in ("greedy1", "greedy2", "greedy3"):
            await desk.done(name)
        assert (desk.turns.running, desk.turns.waiting) == (0, 0)
        return desk.begun

    assert asyncio.run(scene()) == ["greedy0", "other0", "other1", "greedy1", "greedy2", "greedy3"]


def test_the_keys_of_a_project_take_turns() -> None:
    async def scene() -> list[str]:
        desk = Desk(1)
        await desk.ask("first", "p", 1)
        for number in range(3):
            await desk.ask(f"a{number}", "p", 1)
        await desk.ask("b0", "p", 2)
        await desk.ask("c0", "q", 3)
        for name in ("first", "a0", "c0", "b0", "a1", "a2"):
            await desk.done(name)
        return desk.begun

    assert asyncio.run(scene()) == ["first", "a0", "c0", "b0", "a1", "a2"]


@pytest.mark.parametrize("given", [False, True])
def test_who_leaves_while_waiting_loses_no_turn(given: bool) -> None:
    async def scene() -> None:
        desk = Desk(1)
        await desk.ask("a", "p")
        await desk.ask("b", "p")
        await desk.ask("c", "p")
        if given:  # b is cancelled in the moment in which it is given the turn
            desk._ends["a"].set()
            while desk.turns.waiting == 2:
                await asyncio.sleep(0)
        desk.tasks["b"].cancel()
        await desk.done("a")
        assert desk.begun == ["a", "c"]
        await desk.done("c")
        assert (desk.turns.running, desk.turns.waiting, desk.turns._waiting) == (0, 0, {})

    asyncio.run(scene())


def test_any_coming_and_going_ends_with_all_turns_free() -> None:
    async def scene(seed: int) -> None:
        chance = random.Random(seed)
        total = chance.randint(1, 4)
        turns = Turns(total)

        async def one() -> None:
            async with turns.turn(f"p{chance.randint(0, 2)}", chance.randint(0, 2)):
                assert turns.running <= total
                for _ in range(chance.randint(0, 3)):
                    await asyncio.sleep(0)

        tasks = [asyncio.create_task(one()) for _ in range(40)]
        for task in chance.sample(tasks, 15):
            for _ in range(chance.randint(0, 4)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (turns.running, turns.waiting, turns._free) == (0, 0, total)

    for seed in range(50):
        asyncio.run(scene(seed))
