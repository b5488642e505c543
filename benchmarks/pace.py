"""How much a process takes and deals with, POST to caught up. What is measured at half load runs at half of it."""

import asyncio
import time

import msgspec

from benchmarks.load import Order, load
from benchmarks.traffic import Mix
from stream import lag
from stream.building import build
from stream.config import Config
from stream.log.sqlite import SqliteHistory
from stream.places import file_of
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
    while await behind(settings):
        await asyncio.sleep(0.05)


async def behind(settings: Config) -> int:
    """How many messages the processor that is furthest behind has yet to read."""
    async with (
        SqliteHistory.open_readonly(file_of(settings.log.url)) as log,
        Store.open(settings.store.url, settings.identity) as store,
    ):
        readers = lag.readers(build(settings).processors)
        return max(one.behind for one in await lag.measure(log, await store.positions.all(), readers))


def _later(order: Order, first: int) -> Mix:
    return msgspec.structs.replace(order.mix, first=first)
