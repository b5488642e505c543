"""Worker: starts, watches and stops the processors of this process.

A processor that stops by itself (most of its deliveries die; the log lacks what it has yet to read) says so and waits
for `stream resume`; the others go on. Its members in other processes stop with it, and go on with it: the store says
so. Whatever else ends a task ends the process.
"""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Protocol

import structlog

from stream import lag
from stream.batch import Surroundings
from stream.eraser import NAME as ERASER
from stream.eraser import Eraser
from stream.errors import PositionLost, Stopped
from stream.outage import outlast
from stream.processor import Projection
from stream.projector import Projector
from stream.publisher import Publisher
from stream.runner import Runner

logger = structlog.get_logger()

_GAUGES_S = 1.0
_STOPS_S = 1.0
_GAUGES_SHARE = 0.02  # of the time, at most: a million held deliveries take long to count


class Runs(Protocol):
    """One member of a processor, of whatever kind."""

    @property
    def name(self) -> str: ...

    async def run(self) -> None: ...


class Worker:
    """The processors of one process: projections, and `runners` of reactors and syncs. An erasure waits for `every`
    configured projection and knows the rows of each, whether it runs here or not."""

    def __init__(
        self,
        around: Surroundings,
        projections: Sequence[Projection],
        profile: bool,
        every: Sequence[Projection] | None = None,
        runners: Sequence[Runner] = (),
    ) -> None:
        self.projections = projections
        self.projectors = {p.name: Projector(p, around, Publisher(p.name, around, profile)) for p in projections}
        self.runners = {runner.name: runner for runner in runners}
        self.eraser = Eraser(around, every or projections, Publisher(ERASER, around, profile))
        self.stopped: dict[str, str] = {}
        self.held: dict[str, int] = {}
        """How much each holds, as last counted."""
        self._around = around
        self._resumed = asyncio.Event()
        self._changes = 0  # of `stopped`: what was read of the store before the last one no longer counts
        self._running: dict[str, asyncio.Timeout] = {}

    @property
    def names(self) -> list[str]:
        """Of the processors that run here."""
        return [*self.projectors, *self.runners]

    async def run(self) -> None:
        """Until cancelled, or until something breaks: then all of it ends."""
        async with asyncio.TaskGroup() as group:
            members: list[Runs] = [*self.projectors.values(), *self.runners.values()]
            for one in members:
                group.create_task(self._watch(one), name=one.name)
            if "deletion" in self.projectors:
                group.create_task(self.eraser.run(), name=ERASER)
            group.create_task(self._gauge(), name="gauges")
            group.create_task(self._see_stops(), name="stops")

    async def resume(self, processor: str) -> bool:
        """Lets a stopped processor start again, wherever its members run. False: it was not stopped."""
        resumed = await self._around.store.positions.resume(processor)
        was = self.stopped.pop(processor, None)
        self._changed()
        return resumed or was is not None

    def runs(self, processor: str) -> bool:
        """Does it run in this process?"""
        return processor in self.projectors or processor in self.runners

    async def lags(self) -> list[lag.Lag]:
        """How far each processor is behind."""
        runners = [lag.Reader(one.name, one.actor.topics, from_end=True) for one in self.runners.values()]
        readers = [*lag.readers(self.projections), *runners]
        return await lag.measure(self._around.log, await self._around.store.positions.all(), readers)

    async def _watch(self, one: Runs) -> None:
        name = one.name
        positions, clock = self._around.store.positions, self._around.clock
        await outlast(lambda: positions.forgive(name), name)
        self.stopped |= {p: why for p, why in (await outlast(positions.stops, name)).items() if p == name}
        while True:
            await self._until_resumed(name)
            try:
                await self._run(one)
            except (Stopped, PositionLost) as stop:
                reason, lasting = str(stop), isinstance(stop, Stopped)
                await outlast(lambda: positions.stop(name, reason, clock(), lasting), name)  # noqa: B023 - run at once
                self._stop(name, reason)

    async def _run(self, one: Runs) -> None:
        """Until it stops, here or elsewhere."""
        try:
            async with asyncio.timeout(None) as elsewhere:
                self._running[one.name] = elsewhere
                await one.run()
        except TimeoutError:
            if not elsewhere.expired():
                raise
        finally:
            del self._running[one.name]

    def _stop(self, name: str, reason: str) -> None:
        if name not in self.stopped:
            logger.error("processor_stopped", processor=name, reason=reason, resume=f"stream resume {name}")
        self.stopped[name] = reason
        self._changed()

    def _changed(self) -> None:
        self._changes += 1
        self._resumed.set()

    async def _see_stops(self) -> None:
        while True:
            await asyncio.sleep(_STOPS_S)
            changes = self._changes
            found = await outlast(self._around.store.positions.stops, "stops")
            if changes == self._changes:
                self._follow(found)

    def _follow(self, found: Mapping[str, str]) -> None:
        """Stops what a member elsewhere has stopped, and lets go on what was resumed elsewhere."""
        for name in [name for name in self.names if name in found and name not in self.stopped]:
            self._stop(name, found[name])
            if name in self._running:
                self._running[name].reschedule(0.0)
        for name in self.stopped.keys() - found.keys():
            del self.stopped[name]
            self._changed()

    async def _until_resumed(self, name: str) -> None:
        while name in self.stopped:
            self._resumed.clear()
            await self._resumed.wait()

    async def _gauge(self) -> None:
        metrics = self._around.metrics
        counted = 0.0
        while True:
            for name in self.names:
                metrics.stopped.labels(name).set(name in self.stopped)
            await outlast(self._say, "gauges")
            for one in await outlast(self.lags, "gauges"):
                metrics.lag.labels(one.processor).set(one.behind)
            if perf_counter() >= counted:
                counted = await self._count_held()
            await asyncio.sleep(_GAUGES_S)

    async def _say(self) -> None:
        """Has other processes see how runners stand (`stream lag`)."""
        statuses = {name: runner.status for name, runner in self.runners.items()}
        await self._around.store.statuses.keep(statuses, self._around.clock())

    async def _count_held(self) -> float:
        """When it may be counted again."""
        begun = perf_counter()
        counts = await outlast(self._around.store.held.counts, "gauges")
        self.held = {name: sum(counts.get(name, {}).values()) for name in self.names}
        for name, amount in self.held.items():
            self._around.metrics.held.labels(name).set(amount)
        ended = perf_counter()
        return ended + (ended - begun) / _GAUGES_SHARE
