"""Mending: held deliveries that somebody asks to try again, or to let go."""

import asyncio
from functools import partial

from msgspec import structs

from stream.errors import ClaimLost
from stream.outage import outlast
from stream.runner.items import Turn
from stream.runner.member import Member
from stream.store import Held
from stream.store.database import Transaction
from stream.store.lanes import Lane

Became = dict[int, str]

_WAIT_S = 5.0  # for its turn; it comes later too, whether somebody waits for it or not


class Mending:
    """Changes what is held of this member's partitions."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def revive(self, held: Held) -> "asyncio.Future[Became]":
        """It waits again, in its place in its lane, which is due now; what comes of it. Raises ClaimLost where its
        partition is not this member's."""
        member, partition, store = self._member, held.delivery.partition, self._member.around.store
        known = member.known.get(held.lane)
        lane = Lane(name=held.lane, partition=partition, due=member.now, reason=held.reason, since=member.now)
        if known is not None:
            lane = structs.replace(known, due=member.now)

        async def write(tx: Transaction) -> None:
            await store.lanes.revive(tx, held.id)
            await store.lanes.put(tx, member.actor.name, lane)

        if not await member.write({partition, lane.partition}, write):
            raise ClaimLost(f"{member.actor.name} does not own {partition.topic}/{partition.number} now")
        member.known.keep(lane)
        done: asyncio.Future[Became] = asyncio.get_running_loop().create_future()
        member.lanes.put(held.lane, Turn(done))
        return done

    async def became(self, held: Held, done: "asyncio.Future[Became]") -> str:
        """What became of it, as far as is known within some seconds."""
        wait = 0.0 if self._member.breaker.open else _WAIT_S  # other errands wait meanwhile
        try:
            async with asyncio.timeout(wait):
                became = await done
        except TimeoutError:
            became = {}
        if held.id in became:
            return became[held.id]
        return "waits" if await self._member.around.store.held.get(held.id) else "left before"

    async def drop(self, held: Held) -> None:
        """Lets it go for good."""
        member = self._member
        await outlast(partial(member.around.store.drop, held), member.actor.name)
        if lane := member.known.get(held.lane):
            member.known.keep(structs.replace(lane, due=member.now))
            member.lanes.put(held.lane, Turn())  # it may be free now, or empty
