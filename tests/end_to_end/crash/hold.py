"""Hold: a member is held at a suspension point while a second one takes its partitions and deals with everything. Then
the first goes on, as a process does that was stopped for too long; nothing that it does may count."""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any

import msgspec

from stream.app import App
from stream.building import build
from stream.config import Config
from stream.log import Cursor
from stream.log.sqlite import SqliteHistory
from stream.message import Message, Partition
from stream.places import file_of
from stream.projector import Projector
from stream.publisher import Publisher
from stream.store import Store
from stream.turns import Turns
from tests.end_to_end.crash.points import Point

_LOCKED_S = 0.3
_BEGUN_S = 0.05


class Hold:
    """Holds the `number`-th point of the members' own tasks."""

    def __init__(self, number: int) -> None:
        self.points = 0
        self.held = ""
        self.skipped = False  # the point was within a writing transaction: nobody else can write then
        self._number = number
        self._app: App | None = None
        self._passed: set[tuple[Point, int]] = set()
        self._second: asyncio.Task[None] | None = None

    def begin(self, app: App) -> None:
        """From now on points count."""
        self._app = app

    def hear(self, point: Point) -> Awaitable[None] | None:
        if self._app is None or point.task not in self._app.worker.projectors:
            return None
        passed = (point, os.stat(file_of(self._app.config.store.url + "-wal")).st_size)
        if passed in self._passed:
            return None
        self._passed.add(passed)
        self.points += 1
        if self.points != self._number:
            return None
        self.held = f"{point.task}: {' > '.join(map(str, point.places))}"
        return self._held(self._app, point.task)

    async def client_end(self) -> None:
        """Ends the second member."""
        if self._second is not None:
            self._second.cancel()
            await asyncio.gather(self._second, return_exceptions=True)
            if not self._second.cancelled():
                self._second.result()

    async def _held(self, app: App, name: str) -> None:
        if await asyncio.to_thread(_is_writing, app.config):
            self.skipped = True
            return
        done = asyncio.Event()
        self._second = asyncio.create_task(client_second(app, name, done))
        ended = asyncio.create_task(done.wait())
        await asyncio.wait([self._second, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()


async def client_second(app: App, name: str, done: asyncio.Event) -> None:
    """A second member of the processor, on the same files with connections of its own."""
    path, config = file_of(app.config.log.url), app.config
    async with (
        SqliteHistory.open_readonly(path) as history,
        Store.open(config.store.url, config.identity) as store,
    ):
        around = msgspec.structs.replace(app.around, log=_Shared(history, app), store=store, turns=Turns())
        projection = build(config).some([name]).projections[0]
        member = Projector(projection, around, Publisher(name, around, config.publish.profile))
        async with member.joined() as cursor:
            while True:
                if await member.step(cursor) == 0:
                    done.set()


class _Shared:
    """The log as a second process would have it if two could append: it reads by itself, and the first one appends."""

    def __init__(self, history: SqliteHistory, app: App) -> None:
        self.identities = history.identities
        self.read, self.bounds = history.read, history.bounds
        self._history = history
        self._first = app.around.log

    @contextlib.asynccontextmanager
    async def consume(self, *about: Any) -> AsyncIterator[Cursor]:
        async with self._history.consume(*about) as cursor:
            yield _Uncopied(cursor)

    async def append(self, messages: Sequence[Message]) -> None:
        await self._first.append(messages)


class _Uncopied:
    """A cursor that keeps no copy of the positions: the file of the log is the first one's."""

    def __init__(self, cursor: Cursor) -> None:
        self.fetch = cursor.fetch

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        return None


def _is_writing(config: Config) -> bool:
    """Is the store's file locked, and stays so? What other members write takes less than the timeout."""
    time.sleep(_BEGUN_S)  # the held one's statement, and the BEGIN with it, may still be on its way to its thread
    path = file_of(config.store.url)
    with contextlib.closing(sqlite3.connect(path, timeout=_LOCKED_S, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        other.execute("ROLLBACK")
        return False
