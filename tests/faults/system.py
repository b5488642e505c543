"""System: receivers, with a spill and without one, and processors, all of them processes of their own, under load."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from stream.building import build
from stream.lag import readers
from stream.message import Partition
from tests.brokers.parts import FILES, Parts
from tests.destination import Destination
from tests.end_to_end.crash.process import ROOT, looking
from tests.end_to_end.destinations.site import Process, Site, forward
from tests.faults.load import Load

PARTITIONS = 8
COUNTED = ("profiles", "purchases")
MEMBER = (*COUNTED, "forward")
STEADY = ("consent", "deletion")
_PROJECTIONS: dict[str, dict[str, Any]] = {name: {} for name in (*COUNTED, *STEADY)}
_PROCESSORS = ROOT / "tests/end_to_end/crash/site/processors"
_PATIENCE_S = 90.0

_Bounds = Mapping[str, Mapping[Partition, tuple[int, int]]]


class System:
    """What runs from its beginning to its end; members of the processors come and go as a test has them."""

    def __init__(self, site: Site, there: Destination, spilling: Process, plain: Process) -> None:
        self.site, self.there = site, there
        self.spilling, self.plain = spilling, plain
        self.load = Load([spilling.url, plain.url])

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, parts: Parts) -> AsyncIterator["System"]:
        """With an empty log, and a member less than it needs to do anything."""
        async with AsyncExitStack() as stack:
            there = await stack.enter_async_context(Destination.open())
            processors = _PROJECTIONS | {"forward": {"to": forward(there.url)}}
            site = new_site(folder / "site", parts, processors=processors)
            spill = {"folder": str(folder / "spill")}
            other = new_site(folder / "spilling", parts, processors=processors, spill=spill)
            starting = [site.running("receiver"), other.running("receiver"), site.running(*STEADY)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(stack.enter_async_context(one)) for one in starting]
            plain, spilling, _ = [task.result() for task in tasks]
            await _begun(site)
            yield cls(site, there, spilling, plain)

    def member(self) -> AbstractAsyncContextManager[Process]:
        """One more member of each processor that counts or sends."""
        return self.site.running(*MEMBER)

    async def passed(self) -> None:
        """Returns once the processors that count have dealt with all that is in the log now."""
        counting = readers([one for one in build(self.site.config).projections if one.name in COUNTED])
        async with looking(self.site.config) as (log, store):
            ends = {one.name: await log.bounds(one.topics) for one in counting}
            async with asyncio.timeout(_PATIENCE_S):
                while not _passed(ends, await store.positions.all()):
                    await asyncio.sleep(0.1)

    async def settled(self) -> None:
        """Returns once all of it has been dealt with, by everybody."""
        await self.site.settled(within=_PATIENCE_S)


async def _begun(site: Site) -> None:
    """Returns once the forward has a place in the log, so that all that follows is for it."""
    async with asyncio.timeout(_PATIENCE_S), looking(site.config) as (_, store):
        while "forward.to" not in await store.positions.all():
            await asyncio.sleep(0.1)


def _passed(bounds: _Bounds, positions: Mapping[str, Mapping[Partition, int]]) -> bool:
    return all(
        positions.get(name, {}).get(at, 0) >= end for name, ends in bounds.items() for at, (_, end) in ends.items()
    )


def new_site(folder: Path, parts: Parts = FILES, **sections: Any) -> Site:
    """A site with the processor that counts purchases."""
    site = Site(folder, parts, publish={"profile": True}, **sections)
    shutil.copytree(_PROCESSORS, folder / "processors", ignore=shutil.ignore_patterns("__pycache__"))
    return site
