"""Turns at something that only so many can do at a time, given out fairly.

Who waits is served in rounds: over the projects, within a project over its keys, and for one key in the order of
asking. So however many questions one asks at once, another's next one waits for one of its turns and not for all. One
turn is never given to a project that has all the others: what takes long there keeps nobody else from beginning.

For one event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

_Waiting = deque["asyncio.Future[None]"]


class Turns:
    """``total`` turns at a time."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._most = max(1, total - 1)
        self._running: Counter[str] = Counter()
        """By project."""
        self._waiting: dict[str, dict[int, _Waiting]] = {}
        """By project and key, both in the order in which they are served next. Nothing empty is kept."""

    @property
    def running(self) -> int:
        """Turns that are taken."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Those who wait for one."""
        return sum(len(each) for keys in self._waiting.values() for each in keys.values())

    @asynccontextmanager
    async def turn(self, project: str, key: int) -> AsyncIterator[None]:
        """A turn for the length of the block."""
        if self._free and self._may(project):
            self._take(project)
        else:
            await self._wait(project, key)
        try:
            yield
        finally:
            self._end(project)

    def _may(self, project: str) -> bool:
        return self._running[project] < self._most

    def _take(self, project: str) -> None:
        self._free -= 1
        self._running[project] += 1

    def _end(self, project: str) -> None:
        self._running[project] -= 1
        self._free += 1
        self._serve()

    async def _wait(self, project: str, key: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project, {}).setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(project, key, turn)
            else:  # given in the same moment
                self._end(project)
            raise

    def _leave(self, project: str, key: int, turn: asyncio.Future[None]) -> None:
        keys = self._waiting.get(project, {})
        if turn in keys.get(key, ()):
            keys[key].remove(turn)
            if not keys[key]:
                del keys[key]
            if not keys:
                del self._waiting[project]

    def _serve(self) -> None:
        """Give what is free to those who are next."""
        while self._free and (project := next(self._served(), None)) is not None:
            key = next(iter(self._waiting[project]))
            turn = self._waiting[project][key].popleft()
            self._put_back(project, key)
            if not turn.cancelled():
                self._take(project)
                turn.set_result(None)

    def _served(self) -> Iterator[str]:
        return (project for project in self._waiting if self._may(project))

    def _put_back(self, project: str, key: int) -> None:
        """To the end of both rounds, or out of them when nobody is left."""
        keys = self._waiting.pop(project)
        turns = keys.pop(key)
        if turns:
            keys[key] = turns
        if keys:
            self._waiting[project] = keys
