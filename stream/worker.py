"""Worker: starts, watches and stops the processors of this process.

A processor that stops by itself (most of its deliveries die; the log lacks what it has yet to read) says so and waits
for `stream resume`; the others go on. Whatever else ends a task ends the process.
"""

import asyncio
from collections.abc import Sequence
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

    async def resume(self, processor: str) -> bool:
        """Lets a stopped processor start again. False: it was not stopped."""
        await self._around.store.positions.resume(processor)
        was = self.stopped.pop(processor, None)
        self._resumed.set()
        return was is not None

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
                await one.run()
            except (Stopped, PositionLost) as stop:
                reason, lasting = str(stop), isinstance(stop, Stopped)
                await outlast(lambda: positions.stop(name, reason, clock(), lasting), name)  # noqa: B023 - run at once
                self._stop(name, reason)

    def _stop(self, name: str, reason: str) -> None:
        self.stopped[name] = reason
        logger.error("processor_stopped", processor=name, reason=reason, resume=f"stream resume {name}")

    async def _until_resumed(self, name: str) -> None:
        while name in self.stopped:
            self._resumed.clear()
            await self._resumed.wait()

    async def _gauge(self) -> None:
        metrics = self._around.metrics
        counted = 0.0
        while True:
            for one in await outlast(self.lags, "gauges"):
                metrics.lag.labels(one.processor).set(one.behind)
            for name in self.names:
                metrics.stopped.labels(name).set(name in self.stopped)
            await outlast(self._say, "gauges")
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
