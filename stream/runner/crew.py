"""Crew: the tasks that deal with lanes: as many as have something to do, and no more than may run at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec import Struct

from stream.core.lanes import Taken
from stream.runner.items import Item
from stream.turns import Turns

_LAST_S = 1.0  # for what was cancelled, to end


class Work(Struct, frozen=True):
    """What a crew does: take the next one that is ready, and deal with it; `more`: is another one ready?"""

    take: Callable[[], Taken[Item] | None]
    more: Callable[[], bool]
    deal: Callable[[Taken[Item]], Awaitable[None]]


class Crew:
    """While it is `at_work`, every lane that is ready is dealt with, `most` at once."""

    def __init__(self, work: Work, most: int, turns: Turns) -> None:
        self._work = work
        self._most = most
        self._turns = turns
        self._group: asyncio.TaskGroup | None = None
        self._tasks = 0
        self._coming = False  # is there a task that has not begun yet?
        self._yielding = False  # is there one that only lets the rest of the loop run, and then goes on?
        self._dealing: dict[asyncio.Task[None] | None, Taken[Item]] = {}
        self._ended = asyncio.Event()

    @property
    def works(self) -> bool:
        """Is it at work?"""
        return self._group is not None

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[asyncio.TaskGroup]:
        """Leaving waits until nothing is ready any more; with an exception, it ends at once what is under way."""
        async with asyncio.TaskGroup() as group:
            self._group, self._tasks, self._coming = group, 0, False
            try:
                self.call()
                yield group
            except BaseException:
                self._group = None
                raise
        self._group = None

    def call(self) -> None:
        """Something may be ready."""
        if self._group is not None and not self._coming and self._tasks < self._most:
            self._coming = True
            self._tasks += 1
            self._group.create_task(self._run())

    async def settle(self, concerned: Callable[[Taken[Item]], bool], grace: float) -> None:
        """Returns once nothing is dealt with that is concerned. What still is after `grace` seconds is cancelled."""
        try:
            async with asyncio.timeout(grace):
                while any(concerned(taken) for taken in self._dealing.values()):
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            tasks = [task for task, taken in self._dealing.items() if task is not None and concerned(taken)]
            for task in tasks:
                task.cancel()
            if tasks:  # else the last one ended in this very moment
                await asyncio.wait(tasks, timeout=_LAST_S)
            self.call()

    async def _run(self) -> None:
        self._coming = False
        work, dealing, task = self._work, self._dealing, asyncio.current_task()
        try:
            while not self._yielding and (taken := work.take()) is not None:
                if work.more():
                    self.call()  # so that somebody goes on while this one waits
                dealing[task] = taken
                try:
                    await work.deal(taken)
                finally:
                    del dealing[task]
                    self._ended.set()
                if self._turns.used_up() and not self._yielding:
                    await self._yield()
        finally:
            self._tasks -= 1

    async def _yield(self) -> None:
        self._yielding = True
        try:
            await asyncio.sleep(0)
        finally:
            self._yielding = False
