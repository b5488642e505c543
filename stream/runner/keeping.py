"""Keeping: deliveries leave memory for held, in order, with all that waits behind them of the same lane.

Their lane is taken meanwhile, so nothing of it is acted on, and whatever comes for it is found behind it at the end.
"""

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from stream.handling import trace_of
from stream.runner.items import Fresh
from stream.runner.member import Member
from stream.runner.part import HELD
from stream.store import Held
from stream.store.database import Transaction
from stream.store.lanes import Lane

JOINED = "skipped:joined"
BLOCKED_S = 60.0  # between two looks at a lane whose first is dead: a deletion may have erased it
BEHIND = "behind"
_AT_ONCE = 100  # deliveries in a commit: what others write waits for it


class Why(Struct, frozen=True):
    """Why a delivery is held: the reason, and the bug, if it died of one."""

    reason: str
    error: Exception | None = None
    state: str = "waiting"


class Keeping:
    """Moves what is taken of a lane to held. The lane stays taken."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def hold(self, key: str, tried: list[Fresh], reason: str, due: float) -> None:
        """What was tried, and all behind it, is tried again from then on."""
        await self._keep(key, tried, Why(reason), self._lane(key, tried[0], reason, due))
        await self.follow(key, self.behind(key))

    async def die(self, key: str, tried: list[Fresh], why: Why) -> None:
        """It stays in held until somebody does something about it. Those behind it wait, or do not, as configured."""
        if not self._member.actor.config.wait_behind_dead:
            await self._keep(key, tried, why, None)
            return
        await self._keep(key, tried, why, self._lane(key, tried[0], why.reason, self._member.now + BLOCKED_S))
        await self.follow(key, self.behind(key))

    async def follow(self, key: str, fresh: list[Fresh]) -> None:
        """Deliveries of a lane that is held go behind what is there, and so does what waits behind them."""
        while fresh:
            await self.put_behind(key, fresh)
            fresh = self.behind(key)

    async def put_behind(self, key: str, fresh: list[Fresh]) -> None:
        """These go behind what is held of their lane."""
        if fresh:
            lane = self._member.known.get(key) or self._lane(key, fresh[0], BEHIND, self._member.now)
            await self._keep(key, fresh, Why(BEHIND), lane)

    def behind(self, key: str) -> list[Fresh]:
        """Takes out what waits in the lane; what is not of the log goes back."""
        lanes, fresh = self._member.lanes, []
        for item in lanes.drop(key):
            if not isinstance(item, Fresh):
                lanes.put(key, item)
            elif not item.part.gone:
                fresh.append(item)
        return fresh

    def _lane(self, key: str, first: Fresh, reason: str, due: float) -> Lane:
        return Lane(
            name=key,
            partition=first.part.partition,
            attempts=first.tries.failed,
            due=due,
            reason=reason,
            since=self._member.now,
        )

    async def _keep(self, key: str, fresh: list[Fresh], why: Why, lane: Lane | None) -> None:
        joined, left = (fresh[:-1], fresh[-1:]) if self._member.actor.joins else ([], fresh)
        for at in range(0, len(left), _AT_ONCE):
            await self._keep_some(key, left[at : at + _AT_ONCE], why, lane)
        for one in joined:
            one.part.close(one.delivery.offset, JOINED)

    async def _keep_some(self, key: str, left: list[Fresh], why: Why, lane: Lane | None) -> None:
        member = self._member
        while left := [one for one in left if not one.part.lost]:
            rows = [self._row(key, one, why) for one in left]
            if await member.write({one.part.partition for one in left}, partial(self._write, lane, rows)):
                break
        if lane is not None and left and key not in member.known:  # else it may be at its turn, and is not due again
            member.known.keep(lane)
        for one in left:
            one.part.close(one.delivery.offset, HELD)

    async def _write(self, lane: Lane | None, rows: Sequence[Held], tx: Transaction) -> None:
        store, name = self._member.around.store, self._member.actor.name
        await store.held.add(tx, rows)
        if lane is not None:
            await store.lanes.put(tx, name, lane)

    def _row(self, key: str, one: Fresh, why: Why) -> Held:
        actor = self._member.actor
        subject, time = actor.about(one.delivery)
        return Held(
            processor=actor.name,
            delivery=one.delivery,
            lane=key,
            subject=subject,
            time=time,
            state=why.state,
            reason=why.reason,
            trace="" if why.error is None else trace_of(why.error),
            attempts=one.tries.failed,
            since=self._member.now,
        )
