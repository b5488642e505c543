"""Attempts: what is taken of a lane is tried, and what becomes of it is decided (core/policy.py)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeGuard

from stream.core import policy
from stream.core.lanes import Taken
from stream.errors import LogError, NotYet, Retry, Skip, StoreError
from stream.runner.following import Following
from stream.runner.held import HeldTurns
from stream.runner.items import Extra, Fresh, Item, Turn
from stream.runner.keeping import JOINED, Keeping, Why
from stream.runner.member import Member

APPLIED = "applied"
Tried = Fresh | Extra


class Attempts:
    """Deals with one take after another, of any number of lanes at once."""

    def __init__(self, member: Member, jitter: Callable[[], float]) -> None:
        self._member = member
        self._jitter = jitter
        self._keeping = Keeping(member)
        self._turns = HeldTurns(member, Following(member, self._keeping), jitter)

    async def deal(self, taken: Taken[Item]) -> None:
        """Tries what was taken, and settles its lane: done, or put off."""
        member, key, items = self._member, taken.key, taken.items
        until: float | None = None
        tried: Sequence[Tried] = ()
        try:
            if member.troubled:
                member.troubled.pop(key, None)
            if len(items) == 1 and _plain(items[0]) and key not in member.known:
                tried = [items[0]]
            else:
                tried = await self._sort(key, items)
            if tried:
                until = await self._try(key, tried)
        except asyncio.CancelledError:
            for item in taken.items:
                if isinstance(item, Extra):
                    _raise(item, NotYet("stopped", after=1.0))
            raise
        finally:
            self._settle(key, tried, until)

    def _settle(self, key: str, tried: Sequence[Tried], until: float | None) -> None:
        if until is not None:
            kept: list[Item] = [item for item in tried if isinstance(item, Fresh) and not item.part.gone]
            if kept:
                self._member.lanes.again(Taken(key, kept), until)
                return
        self._member.lanes.done(key)

    def reconsider(self) -> None:
        """A lane that by now keeps others out of the window, or is known by now to be the one that fails, need not wait
        for its next try to be held."""
        lanes, troubled, breaker = self._member.lanes, self._member.troubled, self._member.breaker
        window, long_ago = self._member.actor.config.window, self._member.now - self._member.actor.config.patience_s
        for key, (first, error) in list(troubled.items()):
            waiting, since = lanes.waiting(key), first.tries.since
            if not waiting:  # it was revoked
                del troubled[key]
            elif policy.crowds(waiting, window) or (since < long_ago and breaker.tells(since)):
                now = self._member.situation(key, [], first.tries)
                if isinstance(hold := policy.decide(error, first.tries, now, self._jitter()), policy.Hold):
                    del troubled[key]
                    first.leaves = (error.reason, hold.due)
                    for item in lanes.drop(key):  # as new: its turn comes at once
                        lanes.put(key, item)

    async def _sort(self, key: str, items: Sequence[Item]) -> list[Tried]:
        """What of it is to be tried now: not what was revoked, and nothing of the log while the lane is held."""
        turns = [item for item in items if isinstance(item, Turn)]
        asked = bool(turns) and await self._turns.take(key, turns)
        extras: list[Tried] = [item for item in items if isinstance(item, Extra) and not item.done.done()]
        fresh = [item for item in items if isinstance(item, Fresh) and not item.part.gone]
        if fresh and key in self._member.known:
            await self._keeping.follow(key, fresh)
            fresh = []
        elif fresh and (leaves := fresh[0].leaves):
            await self._keeping.hold(key, fresh, *leaves)
            fresh = []
        if not fresh and not extras and not asked:
            self._member.breaker.unasked(self._member.now)
        return [*extras, *fresh]

    async def _try(self, key: str, items: Sequence[Tried]) -> float | None:
        """Until when the lane is put off, if it is."""
        member = self._member
        try:
            asked = await member.act([item.delivery for item in items], all(map(_is_slow, items)))
        except Exception as error:  # the one place that meets whatever an author raises: the policy decides
            return await self._failed(key, items, error)
        if asked:
            member.breaker.note(key, False, member.now, None, member.lanes.keys)
        elif member.breaker.open:
            member.breaker.unasked(member.now)
        member.lived()
        _end(items, APPLIED)
        return None

    async def _failed(self, key: str, items: Sequence[Tried], error: Exception) -> float | None:
        if isinstance(error, StoreError | LogError):  # ours, and nobody's fault
            error = NotYet("store", after=1.0)
        self._tell(key, error)
        fresh = [item for item in items if isinstance(item, Fresh)]
        for item in items:
            if isinstance(item, Extra):
                _raise(item, error)
        if not fresh:
            return None
        return await self._decide(key, fresh, error)

    async def _decide(self, key: str, fresh: list[Fresh], error: Exception) -> float | None:
        member, first = self._member, fresh[0]
        first.tries = first.tries.another(error, member.now)
        situation = member.situation(key, fresh, first.tries)
        match policy.decide(error, first.tries, situation, self._jitter()):
            case policy.Leave(fate):
                member.lived()
                _end(fresh, fate)
            case policy.Die(reason):
                member.died(reason)
                await self._keeping.die(key, fresh, Why(reason, error, "dead"))
            case policy.Hold(due):
                assert isinstance(error, Retry)
                await self._keeping.hold(key, fresh, error.reason, due)
            case policy.Wait(until):
                if isinstance(error, Retry) and not isinstance(error, NotYet):
                    member.troubled[key] = (first, error)
                return until
        return None

    def _tell(self, key: str, error: Exception) -> None:
        """Tells the breaker what was seen of the destination."""
        member = self._member
        if isinstance(error, Retry) and not isinstance(error, NotYet):
            member.breaker.note(key, True, member.now, error.after, member.lanes.keys)
        else:
            member.breaker.unasked(member.now)


def _plain(item: Item) -> TypeGuard[Fresh]:
    return isinstance(item, Fresh) and not item.part.gone and item.leaves is None


def _is_slow(item: Tried) -> bool:
    return isinstance(item, Extra) and item.slow


def _end(items: Sequence[Tried], fate: str) -> None:
    """All but the last of those that were tried together have joined it."""
    last = items[-1]
    for item in items:
        if isinstance(item, Fresh):
            item.part.close(item.delivery.offset, fate if item is last else JOINED)
        elif not item.done.done():
            item.done.set_result(fate)


def _raise(extra: Extra, error: Exception) -> None:
    if extra.done.done():
        return
    if isinstance(error, Skip):
        extra.done.set_result(f"skipped:{error.reason}")
    else:
        extra.done.set_exception(error)
