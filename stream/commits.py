"""Commits: what many lanes write or read at the same time is one transaction.

A commit costs as much for a hundred lanes as for one: they share it. To whoever asked, a body is a transaction of its
own: what it raises is raised to that one alone, and then it has changed nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate, takewhile
from typing import Any, Generic, TypeVar

from msgspec import Struct

from stream.errors import StreamError
from stream.store import Store
from stream.store.database import Transaction

T = TypeVar("T")
R = TypeVar("R")

Body = Callable[[Transaction], Awaitable[T]]
"""Awaits nothing but the transaction, may run in another thread, and may be run again, from a bug of another one on."""

_AT_ONCE = 500  # bodies: some tens of ms for the last of them


class Commits:
    """The transactions of all lanes of one process."""

    def __init__(self, store: Store) -> None:
        db = store.db
        self._writes = _Line(lambda group, durable: db.writing(group.write, durable))
        self._reads = _Line(lambda group, _: db.reading(group.read))

    async def write(self, body: Body[T], durable: bool = True) -> T:
        """What `body` returns, once it is committed (and on disk, if `durable`) together with what others write
        meanwhile, in the order in which they asked. Raises what it raised, or StoreError."""
        written: T = await self._writes.run(body, durable)
        return written

    async def read(self, body: Body[T]) -> T:
        """What `body` returns, read after this call together with what others ask meanwhile."""
        found: T = await self._reads.run(body, False)
        return found


class Together(Generic[T, R]):
    """While one call is under way, those who ask wait, and the next one is made for all of them. `call`: from what was
    asked to the answers, in that order; what it raises is raised to each of them. One call is for one at least, and for
    at most `most`, of which each counts as its `weight`."""

    def __init__(
        self,
        call: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        most: int = 1_000,
        weight: Callable[[T], int] = lambda one: 1,
    ) -> None:
        self._call = call
        self._most = most
        self._weight = weight
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, one: T) -> R:
        """The answer of a call that begins after this one. Whoever is cancelled here does not undo it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        self._waiting.append((one, answer))
        if self._running is None:
            # A task of its own: whoever asked first may be cancelled, and the others still wait.
            self._running = loop.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                some = self._next()
                await self._answer([one for one, _ in some], [answer for _, answer in some])
        finally:
            self._running = None
            for _, answer in self._waiting:
                answer.cancel()
            self._waiting.clear()

    def _next(self) -> "list[tuple[T, asyncio.Future[R]]]":
        weights = accumulate(self._weight(one) for one, _ in self._waiting)
        amount = max(1, sum(1 for _ in takewhile(lambda weight: weight <= self._most, weights)))
        some, self._waiting = self._waiting[:amount], self._waiting[amount:]
        return some

    async def _answer(self, asked: Sequence[T], answers: "Sequence[asyncio.Future[R]]") -> None:
        try:
            found = await self._call(asked)
        except asyncio.CancelledError:
            for answer in answers:
                answer.cancel()
            raise
        except Exception as error:  # everybody who asked meets it
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)
            return
        for answer, one in zip(answers, found, strict=True):
            if not answer.done():  # it was cancelled
                answer.set_result(one)


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
                results.append(_Raised(error))
            await tx.run("RELEASE SAVEPOINT one")
        self.failed = self._asked
        return results

    async def read(self, tx: Transaction) -> list[Any]:
        """What each returned."""
        results: list[Any] = []
        for one in self._asked:
            self.failed = [one]
            results.append(await one.body(tx))
        self.failed = self._asked
        return results


class _Raised(Struct, frozen=True):
    error: Exception


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
                _end(one, _Raised(error))
            return
        for one, result in zip(asked, results, strict=True):
            _end(one, result)


def _end(one: _Asked, result: Any) -> None:
    if one.done.done():
        return
    if isinstance(result, _Raised):
        one.done.set_exception(result.error)
    else:
        one.done.set_result(result)
