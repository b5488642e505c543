"""An event loop for cuts that repeat: blocking calls run on the loop, in its next round, and idle time is skipped.

A call that a task waits for has not begun when the task suspends, and has ended when it goes on. So "cut at the k-th
suspension" says what was done and what was not, as it would not if a thread did it at a moment of its own. What runs is
the same; the log's writer keeps its thread. Real threads are met by the tests with SIGKILL.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from stream.runner import owning, part, runner
from stream.store.database import Transaction
from stream.store.sqlite import SqliteDatabase

T = TypeVar("T")

_IDLE_S = 0.0002  # nothing came for so long: nothing will before the next timer


def take_apart() -> None:
    """Transactions that visit their thread once go to it for each statement: each is a point to cut at."""

    async def writing(self: SqliteDatabase, body: Callable[[Transaction], Awaitable[T]], durable: bool = True) -> T:
        async with self.write(durable) as tx:
            return await body(tx)

    async def reading(self: SqliteDatabase, body: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self.read() as tx:
            return await body(tx)

    SqliteDatabase.writing, SqliteDatabase.reading = writing, reading  # type: ignore[method-assign]


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
