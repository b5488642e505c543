"""Owning: which partitions are this member's, from the assignment to the last write."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from time import perf_counter

from stream import start
from stream.errors import NotYet
from stream.message import Partition
from stream.runner.crew import Crew
from stream.runner.items import Extra, Fresh, Item
from stream.runner.member import Member
from stream.runner.part import Part

_LOOK_S, _DOUBT_S = 1.0, 3.0
_LAST_S = 2.0  # for the last write: a store that is out must not keep the process


class Owning:
    """Takes partitions, and lets go of them."""

    def __init__(self, member: Member, crew: Crew) -> None:
        self._member = member
        self._crew = crew
        self._seen = float("-inf")
        self.at: float | None = None
        """When partitions were last assigned, by perf_counter."""

    async def assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """They are ours from now on; where to start in each."""
        member, around, name = self._member, self._member.around, self._member.actor.name
        seen = perf_counter()
        owned = await start.claim(name, around.log, around.store, partitions, from_end=True)
        for partition, one in owned.items():
            held = await around.store.lanes.offsets(name, partition, one.position)
            member.parts[partition] = Part(partition, one, member.ledger, held)
        for lane in await around.store.lanes.of(name, partitions):
            member.known.keep(lane)
        self._seen, self.at = seen, perf_counter()
        return {partition: one.position for partition, one in owned.items()}

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Starts nothing more of them, waits a while for what runs, writes, and forgets them."""
        parts = [self._member.parts[partition] for partition in partitions if partition in self._member.parts]
        for part in parts:
            part.gone = True
        await self._leave(parts, self._member.actor.config.grace_s)

    @property
    def doubtful(self) -> bool:
        """Has it not been seen for some time that the claims still hold? A process that was frozen knows nothing."""
        return perf_counter() - self._seen > _DOUBT_S

    async def look(self, every: float = _LOOK_S) -> None:
        """Sees whether the claims still hold, if that was so long ago. What another member has claimed is left."""
        begun = perf_counter()
        if begun - self._seen >= every:
            await self._member.see_what_is_lost()
            self._seen = begun
        if lost := [part for part in self._member.parts.values() if part.lost]:
            await self._leave(lost, 0.0)

    async def _leave(self, parts: Sequence[Part], grace: float) -> None:
        member, partitions = self._member, {part.partition for part in parts}
        member.lanes.discard(lambda item: isinstance(item, Fresh) and item.part.gone)
        await self._crew.settle(lambda taken: member.concerns(taken, partitions), grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await asyncio.gather(*[part.write() for part in parts])
        member.forget(parts)
        for part in parts:
            part.leave()
            if member.parts.get(part.partition) is part:
                del member.parts[part.partition]
        if not member.parts:
            member.lanes.discard(_sent_back)


def _sent_back(item: Item) -> bool:
    """Whoever put something that will not be dealt with here hears of it."""
    if isinstance(item, Extra) and not item.done.done():
        item.done.set_exception(NotYet("stopped", after=1.0))
    return isinstance(item, Extra)
