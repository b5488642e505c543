"""Projector: one member of one projection, in batches.

Fetch some thousand deliveries; load the rows of their subjects; call `handle` per event, in order; write all changed
rows and the positions past them in one transaction under the claims; publish. What a newer member, an erasure or a
second writer changed meanwhile makes the write fail as a whole, and the batch is loaded and handled again.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import perf_counter

from stream import start, topics
from stream.batch import Batch, Surroundings
from stream.caught_up import CaughtUp
from stream.core.deaths import Deaths
from stream.errors import ClaimLost, Conflict, Stopped
from stream.log import Cursor
from stream.message import Delivery, Partition
from stream.outage import outlast
from stream.processor import Projection
from stream.publisher import Publisher
from stream.store import Held, Mark, Work
from stream.unwritten import Unwritten

BATCH = 5_000  # deliveries; measured: 1.25 to 1.5 times as fast as 1,000, for a projection into SQLite
_FULL = 1_000  # a smaller batch: it has caught up
_PAUSE_S = 0.02  # then, if nobody waits for what changed, more may come first: ten cost nearly what a hundred do
_REST = 4  # but not longer than so many times what the last ones took: where there is time, nobody need wait
_LAST_S = 2.0  # for what is left to write when partitions go

_Fetched = tuple[Sequence[Delivery], dict[Partition, int]]
"""Deliveries, and the claims that held when they came."""


class Projector:
    """One member of one projection."""

    def __init__(self, projection: Projection, around: Surroundings, publisher: Publisher) -> None:
        self.projection = projection
        self._around = around
        self._publisher = publisher
        self._claims: dict[Partition, int] = {}
        self._next: dict[Partition, int] = {}
        self._busy = asyncio.Lock()
        self._deaths = Deaths()
        self._unwritten = Unwritten()
        self._assigned_anew = False
        self._took = 0.0
        self._ahead: asyncio.Task[_Fetched] | None = None
        """The next batch, while this one is dealt with: only of somebody who is behind, else batches would be small."""
        self._topics = [topics.RAW[kind] for kind in projection.topics]
        self._caught_up = CaughtUp(self._topics, around.log, around.clock)

    @property
    def name(self) -> str:
        return self.projection.name

    @property
    def owns_something(self) -> bool:
        """Has it been assigned partitions, and not lost them?"""
        return bool(self._claims)

    def owns(self, partition: Partition) -> bool:
        """Is this partition its own now?"""
        return partition in self._claims

    async def run(self) -> None:
        """Until cancelled. Raises PositionLost, Stopped, or whatever broke."""
        async with self.joined() as cursor:
            while True:
                if await self.step(cursor) < _FULL and self._unwritten.since is not None:
                    await asyncio.sleep(min(_PAUSE_S, _REST * self._took))

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[Cursor]:
        """A member of the processor while the block lasts, with what the last one left to publish published."""
        around = self._around
        self._deaths = Deaths()  # whoever resumes it has mended something
        await outlast(self._register, self.name)
        await self._publisher.recover()
        async with around.log.consume(self.name, self._topics, self._assigned, self._revoked) as cursor:
            try:
                yield cursor
            finally:
                await self._leave_ahead()

    async def _register(self) -> None:
        await self._around.store.register(table.name for table in self.projection.tables().values())

    async def step(self, cursor: Cursor) -> int:
        """Fetches once and deals with what came; how many deliveries that were."""
        if self._assigned_anew:  # whoever had these partitions may have ended before it published
            self._assigned_anew = False
            await self._publisher.recover()
        ahead, self._ahead = self._ahead, None
        deliveries, claims = await (ahead or self._fetch(cursor))
        if len(deliveries) >= _FULL:
            self._ahead = asyncio.create_task(self._fetch(cursor))
        async with self._busy:
            await outlast(self._caught_up.look, self.name)
            if not deliveries or self._unwritten.due(perf_counter()):
                await outlast(self._write_positions, self.name)
            if not deliveries:
                return 0
            begun = perf_counter()
            if self._claims is claims:  # else they were assigned anew meanwhile, and are read again from where they are
                await self._settle([d for d in deliveries if d.offset >= self._next.get(d.partition, d.offset + 1)])
            self._took = perf_counter() - begun
            self._around.metrics.batch_seconds.labels(self.name).observe(self._took)
            copied = dict(self._next)
        await cursor.commit(copied)
        return len(deliveries)

    async def retry(self, held: Held) -> str:
        """Handles a held delivery once more; its fate. It leaves held unless it dies again. Raises ClaimLost where this
        member does not own its partition now: another one may, and handles it."""
        at = held.delivery.partition
        async with self._busy:
            if not self.owns(at):
                raise ClaimLost(f"{self.name} does not own {at.topic}/{at.number} now")
            while True:
                batch = Batch(self.projection, self._around, [held.to_try])
                await batch.handle(Deaths())
                try:
                    return await self._retried(held, batch)
                except Conflict:
                    if await self._around.store.held.get(held.id) is None:
                        return "left before"

    async def publish(self, marks: Sequence[Mark]) -> None:
        """Publishes what was marked for this projection."""
        await self._publisher.publish(marks)

    async def _retried(self, held: Held, batch: Batch) -> str:
        store, fate = self._around.store, batch.fates[0]
        if fate.held is not None:
            reason, trace = fate.held.reason, fate.held.trace
            await store.db.writing(lambda tx: store.held.fail(tx, held.id, reason, trace))
            return f"held:{fate.held.reason}"
        work = batch.work()
        work.claims, work.positions, work.settled = dict(self._claims), {}, held.id
        work.fates = {held.delivery.partition: {f"left:{fate.name}": 1}}
        work.changes.marks |= dict.fromkeys(held.marks)
        await self._publisher.publish(await store.commit(work))
        return fate.name

    async def _assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        owned = await start.claim(self.name, self._around.log, self._around.store, partitions)
        self._claims = {partition: one.claim for partition, one in owned.items()}
        self._next = {partition: one.position for partition, one in owned.items()}
        self._assigned_anew = True
        return self._next

    async def _revoked(self, partitions: Collection[Partition]) -> None:
        async with self._busy:  # what was dealt with is written first: its claim is still good
            with suppress(TimeoutError):  # a store that is out must not keep the process; it is read once more
                async with asyncio.timeout(_LAST_S):
                    await outlast(self._write_positions, self.name)
            self._unwritten.clear()
            for partition in partitions:
                self._claims.pop(partition, None)
                self._next.pop(partition, None)

    async def _fetch(self, cursor: Cursor) -> _Fetched:
        return await cursor.fetch(BATCH), self._claims

    async def _leave_ahead(self) -> None:
        """What was fetched and not dealt with is fetched again by whoever reads on from the position."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait([ahead])
            if not ahead.cancelled():
                ahead.exception()

    async def _settle(self, deliveries: Sequence[Delivery]) -> None:
        done = False
        while deliveries and not done:
            done = await outlast(partial(self._settled, deliveries), self.name)

    async def _settled(self, deliveries: Sequence[Delivery]) -> bool:
        """False: rows changed meanwhile, and the batch must be handled again."""
        deaths = self._deaths.copy()
        batch = Batch(self.projection, self._around, deliveries)
        complete = await batch.handle(deaths)
        work = batch.work()
        positions, fates = work.positions, work.fates
        try:
            marks = await self._write(work)
        except Conflict:
            self._around.metrics.conflicts.labels(self.name).inc()
            return False
        except ClaimLost:
            return True  # a newer member deals with these; the next assignment says what is ours
        self._next.update(positions)
        self._deaths = deaths
        self._count(fates)
        await self._publisher.publish(marks)
        if not complete:
            reasons = sorted({fate.held.reason for fate in batch.fates if fate.held})
            raise Stopped(f"most of its last deliveries died ({', '.join(reasons)})")
        return True

    async def _write(self, work: Work) -> Sequence[Mark]:
        if work.changes_nothing:
            self._unwritten.add(work, perf_counter())
            return ()
        work = self._unwritten.with_all_of(work)
        return await self._commit(work)

    async def _write_positions(self) -> None:
        if self._unwritten.since is not None or (self._next and self._caught_up.passed(self._next)):
            with suppress(ClaimLost):  # a newer member reads them anew
                await self._commit(self._unwritten.with_all_of(Work(processor=self.name, claims={})))

    async def _commit(self, work: Work) -> Sequence[Mark]:
        work.claims = {partition: self._claims[partition] for partition in work.positions}
        work.passed = self._caught_up.passed(self._next | work.positions)
        work.now = self._around.clock()
        try:
            marks = await self._around.store.commit(work)
        except ClaimLost:
            # What was to be written is lost, of all of its partitions: nothing beyond it may be, until they are
            # assigned anew and read from where they are.
            self._unwritten.clear()
            self._claims.clear()
            self._next.clear()
            raise
        except asyncio.CancelledError:
            self._unwritten.clear()  # it may be written all the same: never once more, below what it wrote
            raise
        self._unwritten.clear()
        if work.passed is not None:
            self._caught_up.noted(work.passed, work.caught_up)
        return marks

    def _count(self, fates: Mapping[Partition, Mapping[str, int]]) -> None:
        for tally in fates.values():
            for fate, amount in tally.items():
                self._around.metrics.deliveries.labels(self.name, fate).inc(amount)
