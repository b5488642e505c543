"""Worker: starts, watches and stops the processors of this process.

A processor that stops by itself (most of its deliveries die; the log lacks what it has yet to read) says so and waits
for `stream resume`; the others go on. Whatever else ends a task ends the process.
"""

import asyncio
from collections.abc import Sequence

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

logger = structlog.get_logger()

_GAUGES_S = 1.0


class Worker:
    """The processors of one process. An erasure waits for `every` configured one and knows the rows of each, whether
    it runs here or not."""

    def __init__(
        self,
        around: Surroundings,
        projections: Sequence[Projection],
        profile: bool,
        every: Sequence[Projection] | None = None,
    ) -> None:
        self.projections = projections
        self.projectors = {p.name: Projector(p, around, Publisher(p.name, around, profile)) for p in projections}
        self.eraser = Eraser(around, every or projections, Publisher(ERASER, around, profile))
        self.stopped: dict[str, str] = {}
        self._around = around
        self._resumed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled, or until something breaks: then all of it ends."""
        async with asyncio.TaskGroup() as group:
            for projector in self.projectors.values():
                group.create_task(self._watch(projector), name=projector.name)
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
        return await lag.measure(self._around.log, await self._around.store.positions.all(), self.projections)

    async def _watch(self, projector: Projector) -> None:
        name = projector.name
        positions, clock = self._around.store.positions, self._around.clock
        await outlast(lambda: positions.forgive(name), name)
        self.stopped |= {p: why for p, why in (await outlast(positions.stops, name)).items() if p == name}
        while True:
            await self._until_resumed(name)
            try:
                await projector.run()
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
        while True:
            for one in await outlast(self.lags, "gauges"):
                metrics.lag.labels(one.processor).set(one.behind)
            counts = await outlast(self._around.store.held.counts, "gauges")
            for name in self.projectors:
                metrics.held.labels(name).set(sum(counts.get(name, {}).values()))
                metrics.stopped.labels(name).set(name in self.stopped)
            await asyncio.sleep(_GAUGES_S)
