"""Commits: what many lanes write at the same time is one transaction, and what they ask is another.

A commit costs as much for a hundred lanes as for one: they share it. To whoever asked, a body is a transaction of its
own: what it raises is raised to that one alone, and then it has changed nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from stream.errors import StreamError
from stream.reads import Reads
from stream.store import Store
from stream.store.database import Transaction
from stream.together import Raised, tell

T = TypeVar("T")

Body = Callable[[Transaction], Awaitable[T]]
"""Awaits nothing but the transaction, may run in another thread, and may be run again, from a bug of another one on."""

_AT_ONCE = 500  # bodies: some tens of ms for the last of them


class Commits:
    """The transactions of all lanes of one process. `reads`: what they ask."""

    def __init__(self, store: Store) -> None:
        db = store.db
        self.reads = Reads(store)
        self._line = _Line(lambda group, durable: db.writing(group.write, durable, beside=True))

    async def write(self, body: Body[T], durable: bool = True) -> T:
        """What `body` returns, once it is committed (and on disk, if `durable`) together with what others write
        meanwhile, in the order in which they asked. Raises what it raised, or StoreError."""
        written: T = await self._line.run(body, durable)
        return written


class _Asked(Struct, eq=False):
    body: Body[Any]
    durable: bool
    done: "asyncio.Future[Any]"


class _Group:
    """Bodies that run one after another in one transaction."""

    def __init__(self, asked: list[_Asked]) -> None:
        self._asked = asked
        self.failed = asked
        """Whose the failure is, if it fails: one body's, or that of all, whom the transaction itself failed."""

    async def write(self, tx: Transaction) -> list[Any]:
        """What each returned; or raised, of what it may raise: then what it wrote is undone."""
        if len(self._asked) == 1:
            return [await self._asked[0].body(tx)]
        results: list[Any] = []
        for one in self._asked:
            self.failed = [one]
            await tx.run("SAVEPOINT one")
            try:
                results.append(await one.body(tx))
            except StreamError as error:
                await tx.run("ROLLBACK TO SAVEPOINT one")
                results.append(Raised(error))
            await tx.run("RELEASE SAVEPOINT one")
        self.failed = self._asked
        return results


class _Line:
    """While one transaction runs, those who come wait for the next one."""

    def __init__(self, transaction: Callable[[_Group, bool], Awaitable[list[Any]]]) -> None:
        self._transaction = transaction
        self._waiting: list[_Asked] = []
        self._running: asyncio.Task[None] | None = None

    async def run(self, body: Body[Any], durable: bool) -> Any:
        loop = asyncio.get_running_loop()
        one = _Asked(body, durable, loop.create_future())
        self._waiting.append(one)
        if self._running is None:
            self._running = loop.create_task(self._run())
        return await one.done

    async def _run(self) -> None:
        # Nobody waits for this task: whatever is raised goes to those who asked.
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                while some := [one for one in some if not one.done.done()]:  # whoever was cancelled is gone
                    await self._together(some)
        finally:
            self._running = None
            for one in self._waiting:
                one.done.cancel()
            self._waiting.clear()

    async def _together(self, asked: list[_Asked]) -> None:
        group = _Group(asked)
        try:
            results = await self._transaction(group, any(one.durable for one in asked))
        except asyncio.CancelledError:
            for one in asked:
                one.done.cancel()
            raise
        except Exception as error:  # the others are done again, without it
            for one in group.failed:
                tell(one.done, Raised(error))
            return
        for one, result in zip(asked, results, strict=True):
            tell(one.done, result)
