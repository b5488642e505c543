"""Runner: one member of one sync or reactor, in lanes.

Deliveries are fetched while the window has room and the destination seems to be there, and dealt with one at a time per
lane, many lanes at once. They end in any order; the position is the first that is open. What ended and caused nothing
in the store is written a little later, with what others write then.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

from stream.batch import Surroundings
from stream.commits import Commits
from stream.core.lanes import Taken
from stream.errors import NotYet, PositionLost, Stopped
from stream.log import Cursor
from stream.message import Delivery, Partition
from stream.runner.actor import Actor
from stream.runner.attempts import Attempts
from stream.runner.crew import Crew, Work
from stream.runner.items import Extra, Fresh, Item, Turn
from stream.runner.member import Member
from stream.runner.mending import Mending
from stream.runner.owning import Owning
from stream.runner.part import Part
from stream.store import Held
from stream.store.statuses import Status

_FETCH = 1_000  # deliveries at once
_SCOUTS = 100  # at once while the destination seems to be down: others must be asked than those who fail
_LAZY_S = 0.2  # what ended and caused nothing is written after so long
_TICK_S, _IDLE_S = 0.05, 0.2  # between two looks at what is due, with something in the window or without
_LEAST_S, _SOON_S = 0.005, 0.01


class Runner:
    """One member of one sync or reactor."""

    def __init__(
        self, actor: Actor, around: Surroundings, commits: Commits, jitter: Callable[[], float] = random.random
    ) -> None:
        self.actor = actor
        self._around = around
        self._commits = commits
        self._jitter = jitter
        self._begin()

    @property
    def name(self) -> str:
        return self.actor.name

    @property
    def owns_something(self) -> bool:
        """Has it been assigned partitions, and not lost them?"""
        return bool(self._member.parts)

    @property
    def status(self) -> Status:
        """How it stands, for others to see."""
        return self._member.status

    @property
    def assigned(self) -> float | None:
        """When it was last assigned partitions, by perf_counter."""
        return self._owning.at

    def owns(self, partition: Partition) -> bool:
        """Is this partition its own now?"""
        part = self._member.parts.get(partition)
        return part is not None and not part.gone

    async def run(self) -> None:
        """Until cancelled. Raises PositionLost, Stopped, or whatever broke."""
        self._begin()  # whoever resumes it has mended something
        lost: PositionLost | None = None
        async with self._crew.at_work() as group:
            ticking = group.create_task(self._tick())
            try:
                async with self.joined() as cursor:
                    await self._read(cursor)
            except PositionLost as error:
                lost = error
            ticking.cancel()
        raise lost or Stopped(self._member.stopped)

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[Cursor]:
        """A member of the processor while the block lasts."""
        topics = self.actor.topics
        async with self._around.log.consume(self.name, topics, self._owning.assigned, self._owning.revoked) as cursor:
            yield cursor

    async def step(self, cursor: Cursor) -> int:
        """Fetches once, and deals with what came and what is due, until nothing is ready; how many deliveries came.
        Raises Stopped."""
        await self._owning.look(0.0)
        async with self._crew.at_work():
            fetched = await self._fetch(cursor) if self._room else 0
            self._look()
        await self._write(0.0)
        await cursor.commit(self._positions())
        if self._member.stopped:
            raise Stopped(self._member.stopped)
        return fetched

    async def put(self, delivery: Delivery, slow: bool) -> str:
        """Acts on a delivery that is not of the log, in its lane, as soon as it is its turn; its fate: "applied", or
        "skipped:<reason>". It is never held: raises Retry, NotYet, Dead, or whatever else act() raised. Waits while the
        destination is down."""
        if not self.owns_something or self._member.stopped:
            raise NotYet("stopped", after=1.0)
        extra = Extra(delivery, slow, asyncio.get_running_loop().create_future())
        self._member.lanes.put(self.actor.lane(delivery), extra)
        await self._called()
        return await extra.done

    async def retry(self, held: Held) -> str:
        """Tries a held delivery again, after what waits before it in its lane; its fate ("waits": it has not come to
        that yet). It leaves held unless it fails. Raises ClaimLost where its partition is not this member's."""
        done = await self._mending.revive(held)
        await self._called()
        return await self._mending.became(held, done)

    async def drop(self, held: Held) -> None:
        """Lets a held delivery go for good."""
        await self._mending.drop(held)
        await self._called()

    def _begin(self) -> None:
        actor, around = self.actor, self._around
        self._member = member = Member(actor, around, self._commits)
        self._attempts = Attempts(member, self._jitter)
        self._mending = Mending(member)
        work = Work(self._take, lambda: member.lanes.ready, self._attempts.deal)
        self._crew = Crew(work, actor.config.concurrency, around.turns)
        self._owning = Owning(member, self._crew)

    async def _called(self) -> None:
        """Has what is ready dealt with: here, if nothing runs."""
        if self._crew.works:
            self._crew.call()
        else:
            async with self._crew.at_work():
                pass

    def _take(self) -> Taken[Item] | None:
        member = self._member
        if member.stopped or self._owning.doubtful:
            return None
        now, breaker = member.now, member.breaker
        if breaker.open and not breaker.may_probe(now):
            return None
        taken = member.lanes.take(now, breaker.open)
        if taken is None and breaker.open:
            breaker.unasked(now)
        return taken

    @property
    def _room(self) -> int:
        member = self._member
        if member.stopped or (member.breaker.open and member.untried()):
            return 0
        return min(member.room, _SCOUTS if member.breaker.open else _FETCH)

    async def _read(self, cursor: Cursor) -> None:
        """Until it stops."""
        written: dict[Partition, int] = {}
        while not self._member.stopped:
            if self._room:
                await self._member.window.freed(_SOON_S)
                await self._fetch(cursor)
            elif self._member.breaker.open:
                await asyncio.sleep(_TICK_S)
            else:
                await self._member.window.freed(_TICK_S)
            positions = self._positions()
            if positions != written:
                written = positions
                await cursor.commit(positions)

    async def _fetch(self, cursor: Cursor) -> int:
        deliveries = await cursor.fetch(max(1, self._room))
        member, lane, skips = self._member, self.actor.lane, self.actor.skips
        parts, lanes = member.parts, member.lanes
        seen: Part | None = None
        for delivery in deliveries:
            part = parts.get(delivery.partition)
            if part is None or part.gone:
                continue
            key = lane(delivery)
            if not part.open(delivery, key):
                continue
            if part is not seen:
                part.fetched(delivery)
                seen = part
            if (fate := skips(delivery)) is not None:
                part.close(delivery.offset, fate)
            else:
                lanes.put(key, Fresh(delivery, part))
        self._crew.call()
        return len(deliveries)

    def _look(self) -> None:
        """Sees what is due by now."""
        member = self._member
        if not member.breaker.open:
            for name in list(member.known.due(member.now)):
                member.lanes.put(name, Turn())
        elif not member.lanes.keys and (one := next(member.known.due(member.now), None)):
            member.lanes.put(one, Turn())  # there is nobody else to ask
        self._attempts.reconsider()
        self._crew.call()

    async def _tick(self) -> None:
        while True:
            await self._write(_LAZY_S)
            await self._owning.look()
            self._look()
            self._member.show()
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Until something is due, as far as is known."""
        member = self._member
        dues = [member.lanes.due(), None if member.breaker.open else member.known.next]
        if member.breaker.open:
            dues = [max(member.breaker.next_probe, dues[0])] if dues[0] is not None else [member.breaker.next_probe]
        next_due = min((due for due in dues if due is not None), default=float("inf"))
        idle = not member.window.open and not any(part.since for part in member.parts.values())
        return min(max(next_due - member.now, _LEAST_S), _IDLE_S if idle else _TICK_S)

    async def _write(self, age: float) -> None:
        """Writes how far partitions are that have waited for it so long."""
        before = perf_counter() - age
        due = [part for part in self._member.parts.values() if part.since is not None and part.since <= before]
        await asyncio.gather(*[part.write() for part in due])

    def _positions(self) -> dict[Partition, int]:
        return {part.partition: part.tracker.position for part in self._member.parts.values()}
