"""The members of one processor in this process: who owns which partitions."""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence

from stream.errors import LogError
from stream.log import OnAssign, OnRevoke
from stream.message import Partition


class Member:
    """One member. `assigned` is what it owns, with the positions where it starts; None while it owns nothing yet or no
    more. Every assignment is another object."""

    def __init__(self, partitions: Collection[Partition], on_assign: OnAssign, on_revoke: OnRevoke) -> None:
        self.partitions = frozenset(partitions)
        self.on_assign = on_assign
        self.on_revoke = on_revoke
        self.assigned: Mapping[Partition, int] | None = None
        self.error: BaseException | None = None  # what a callback raised; such a member is assigned nothing more
        self.told = False  # the error has been raised to it
        self.changed = asyncio.Event()  # something to look at: an assignment, an error, messages
        self.gone = asyncio.Event()  # has left

    def check(self) -> None:
        """Raises what a callback of this member raised."""
        if self.error is not None:
            self.told = True
            raise self.error


class Group:
    """Every join and leave revokes all partitions of all members, waits for that, then assigns all anew, by range.

    The callbacks run in a task of the group: never in a member's own, which may be inside fetch, and which may be
    cancelled. A callback that raises ends its member: fetch raises the same, and the others get its partitions at the
    next join or leave."""

    def __init__(self) -> None:
        self._wanted: list[Member] = []
        self._present: list[Member] = []
        self._leaving: list[Member] = []
        self._task: asyncio.Task[None] | None = None

    def join(self, member: Member) -> None:
        """The member will be assigned its share."""
        self._wanted.append(member)
        self._start()

    async def leave(self, member: Member) -> None:
        """Returns when on_revoke of the member has returned. Raises what a callback raised, unless fetch did."""
        self._wanted.remove(member)
        self._leaving.append(member)
        self._start()
        await member.gone.wait()
        if not member.told:
            member.check()

    async def close(self) -> None:
        """Stops what is going on, for a log that is being closed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._rebalance())

    async def _rebalance(self) -> None:
        try:
            while self._present != self._wanted or self._leaving:
                await self._revoke()
                self._present = list(self._wanted)
                self._let_go()
                await self._assign()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for member in self._leaving:
            member.gone.set()
        self._leaving.clear()

    async def _revoke(self) -> None:
        owners = [(member, member.assigned) for member in self._present if member.assigned is not None]
        for member, _ in owners:
            member.assigned = None  # before any callback: nothing of it is fetched from now on
            member.changed.set()
        calls = [member.on_revoke(tuple(assigned)) for member, assigned in owners if assigned]
        await _each([member for member, assigned in owners if assigned], calls)

    async def _assign(self) -> None:
        sound = [member for member in self._present if member.error is None]
        shares = by_range(sound)
        await _each(sound, [_assign(member, share) for member, share in zip(sound, shares, strict=True)])


def by_range(members: Sequence[Member]) -> list[list[Partition]]:
    """Each member's share: of every topic a run of neighbouring numbers, the first members one more if it does not come
    out even. Topics with the same members and as many partitions are split alike, so that a person stays together."""
    shares: list[list[Partition]] = [[] for _ in members]
    for topic in sorted({partition.topic for member in members for partition in member.partitions}):
        places = [place for place, member in enumerate(members) if any(p.topic == topic for p in member.partitions)]
        partitions = sorted({p for place in places for p in members[place].partitions if p.topic == topic})
        each, more = divmod(len(partitions), len(places))
        start = 0
        for index, place in enumerate(places):
            end = start + each + (index < more)
            shares[place] += partitions[start:end]
            start = end
    return shares


async def _assign(member: Member, share: Collection[Partition]) -> None:
    positions = await member.on_assign(tuple(share)) if share else {}
    if missing := [partition for partition in share if partition not in positions]:
        raise LogError(f"on_assign gave no position for {', '.join(f'{p.topic}/{p.number}' for p in missing)}")
    member.assigned = {partition: positions[partition] for partition in share}
    member.changed.set()


async def _each(members: Iterable[Member], calls: Iterable[Awaitable[None]]) -> None:
    """Runs callbacks side by side; what one raises is its member's."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for member, outcome in zip(members, outcomes, strict=True):
        if isinstance(outcome, asyncio.CancelledError):
            outcome = LogError("a callback of this member was cancelled")
        if outcome is not None:
            member.error = outcome
            member.changed.set()
