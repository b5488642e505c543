"""How much a process takes and deals with, POST to caught up. What is measured at half load runs at half of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from benchmarks.load import Order, load
from benchmarks.traffic import Mix
from stream import lag
from stream.building import build
from stream.config import Config
from stream.log.opening import looked_at
from stream.store import Store


async def half(order: Order, settings: Config) -> float:
    """Half of the requests a second that this process takes at full load and has dealt with: from the first POST until
    all of them are read by every processor. A shorter load warms."""
    await load(msgspec.structs.replace(order, seconds=1.0, mix=_later(order, 10_000_000)))
    await caught_up(settings)
    begun = time.monotonic()
    result = await load(msgspec.structs.replace(order, mix=_later(order, 11_000_000)))
    await caught_up(settings)
    return result.requests / (time.monotonic() - begun) / 2


async def caught_up(settings: Config) -> None:
    """Returns once every processor has read everything."""
    async with _looking(settings) as look:
        while await look():
            await asyncio.sleep(0.05)


async def behind(settings: Config) -> int:
    """How many messages the processor that is furthest behind has yet to read."""
    async with _looking(settings) as look:
        return await look()


@contextlib.asynccontextmanager
async def _looking(settings: Config) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    readers = lag.readers(build(settings).processors)
    async with looked_at(settings) as log, Store.open(settings.store, settings.identity) as store:

        async def look() -> int:
            return max(one.behind for one in await lag.measure(log, await store.positions.all(), readers))

        yield look


def _later(order: Order, first: int) -> Mix:
    return msgspec.structs.replace(order.mix, first=first)
