"""Stops in between: members on the same store and log as all others, held up where a test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from msgspec import structs

from stream.log import Cursor
from stream.processor import Projection
from stream.projector import Projector
from stream.publisher import Publisher
from tests.embedded import Embedded


class Stall:
    """A place where the first to come waits until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._gone_on = asyncio.Event()

    async def pass_through(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self._gone_on.wait()

    def let_go(self) -> None:
        self._gone_on.set()


class Over:
    """Another object, with some of its parts replaced."""

    def __init__(self, of: Any, **parts: Any) -> None:
        self._of = of
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


def stalled(of: Any, method: str, stall: Stall) -> Any:
    """The same object, whose method waits at the stall before it runs."""

    async def wait_and_run(*args: Any, **more: Any) -> Any:
        await stall.pass_through()
        return await getattr(of, method)(*args, **more)

    return Over(of, **{method: wait_and_run})


def stalled_write(db: Any, stall: Stall) -> Any:
    """The same database, where whoever wants to write in one go waits at the stall."""
    return stalled(db, "writing", stall)


def stall_commit(system: Embedded, processor: str) -> Stall:
    """The processor's next batch is loaded and handled, and then waits before it is written."""
    stall, projector = Stall(), system.projectors[processor]
    projector._around = structs.replace(projector._around, store=stalled(system.store, "commit", stall))
    return stall


def stall_append(system: Embedded, processor: str) -> Stall:
    """The processor's publisher reads whom it publishes, and then waits before it appends."""
    stall, publisher = Stall(), system.projectors[processor]._publisher
    publisher._around = structs.replace(publisher._around, log=stalled(system.log, "append", stall))
    return stall


async def reached(stall: Stall, step: "asyncio.Task[Any]") -> None:
    """Waits until the step is held up there; fails if it ends before."""
    waiting = asyncio.create_task(stall.reached.wait())
    await asyncio.wait([waiting, step], return_when=asyncio.FIRST_COMPLETED)
    if step.done():
        waiting.cancel()
        raise AssertionError(f"never came there: {step.result()}")


def elsewhere(system: Embedded) -> Any:
    """The log as a member in another process has it, of which this one knows nothing."""
    return Over(system.log, consume=lambda group, *more: system.log.consume(f"{group}, elsewhere", *more))


@asynccontextmanager
async def member(
    system: Embedded, projection: Projection, store: Any = None, log: Any = None
) -> AsyncIterator[tuple[Projector, Cursor]]:
    """One more member, that owns its partitions."""
    around = structs.replace(system.around, store=store or system.store, log=log or system.log)
    projector = Projector(projection, around, Publisher(projection.name, around, True))
    joined: AbstractAsyncContextManager[Cursor] = projector.joined()
    async with joined as cursor:
        while not projector._next:
            await asyncio.sleep(0)
        yield projector, cursor
