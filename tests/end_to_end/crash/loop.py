"""An event loop for cuts that repeat: blocking calls run on the loop, in its next round, and idle time is skipped.

A call that a task waits for has not begun when the task suspends, and has ended when it goes on. So "cut at the k-th
suspension" says what was done and what was not, as it would not if a thread did it at a moment of its own. What runs is
the same; the log's writer keeps its thread. Real threads are met by the tests with SIGKILL.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from stream.runner import owning, part, runner
from stream.store import sqlite
from stream.store.database import Row, Transaction
from stream.store.sqlite import SqliteDatabase

T = TypeVar("T")
Body = Callable[[Transaction], Awaitable[T]]

_IDLE_S = 0.0002  # nothing came for so long: nothing will before the next timer


def take_apart() -> None:
    """Transactions that visit their thread once go to it for each statement: each is a point to cut at."""

    async def writing(self: SqliteDatabase, body: Body[T], durable: bool = True, beside: bool = False) -> T:
        async with self._writing:
            return await _whole(self._writer, sqlite._begin_durable if durable else sqlite._begin_fast, body)

    async def reading(self: SqliteDatabase, body: Body[T]) -> T:
        async with self._reading:
            return await _whole(self._reader, sqlite._begin_read, body)

    SqliteDatabase.writing, SqliteDatabase.reading = writing, reading  # type: ignore[method-assign]


async def _whole(thread: Any, begin: Callable[[Any], None], body: Body[T]) -> T:
    try:
        await thread.call(begin)
        done = await body(_Apart(thread))
        await thread.call(sqlite._commit)
        return done
    except BaseException:
        # The thread takes calls in order: this runs after whatever was cancelled.
        await asyncio.shield(thread.call(sqlite._rollback))
        raise


class _Apart:
    """A transaction of which each statement is a visit."""

    def __init__(self, thread: Any) -> None:
        self._thread = thread

    async def all(self, sql: str, *params: Any) -> list[Row]:
        found: list[Row] = await self._thread.call(sqlite._all, sql, params)
        return found

    async def run(self, sql: str, *params: Any) -> int:
        return int(await self._thread.call(sqlite._run, sql, params))

    async def many(self, sql: str, rows: Iterable[Row]) -> int:
        return int(await self._thread.call(sqlite._many, sql, rows))

    async def alone(self) -> None:
        pass


def skip_for_runners() -> None:
    """What runners measure with a stopwatch is the loop's time, idle time skipped."""
    for module in (owning, part, runner):
        module.perf_counter = lambda: asyncio.get_running_loop().time()  # type: ignore[attr-defined]


class Loop(asyncio.SelectorEventLoop):
    """asyncio's loop, without waiting for timers; with `threads`, blocking calls have theirs, as everywhere else."""

    def __init__(self, threads: bool = False) -> None:
        super().__init__(_Selector(self))
        self.skipped = 0.0
        self._threads = threads

    def time(self) -> float:
        return super().time() + self.skipped

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's own
        await super().shutdown_default_executor()  # its limit, in newer Pythons, would be skipped with all idle time

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        if self._threads:
            return super().run_in_executor(executor, function, *args)
        done = self.create_future()
        self.call_soon(_call, done, function, args)
        return done


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= _IDLE_S:
            return super().select(timeout)
        events = super().select(_IDLE_S)
        if not events:
            self._loop.skipped += timeout - _IDLE_S
        return events


def _call(done: asyncio.Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    # The call is made even if nobody waits for it any more, as a thread would make it.
    try:
        result = function(*args)
    except Exception as error:
        if not done.done():
            done.set_exception(error)
    else:
        if not done.done():
            done.set_result(result)
