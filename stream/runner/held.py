"""Held turns: what is held of a lane is tried again, in order, until it is empty or something fails.

The lane is taken meanwhile: nothing else of it is acted on, and what comes for it waits behind the turn, or goes behind
what is held (following.py). So a lane ends to be held in the transaction in which its last delivery leaves, and what
comes next overtakes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct, field, structs

from stream.core import policy
from stream.errors import LogError, NotYet, Retry, StoreError
from stream.handling import trace_of
from stream.outage import outlast
from stream.runner.following import Following
from stream.runner.items import Turn
from stream.runner.keeping import BEHIND, BLOCKED_S, JOINED
from stream.runner.member import Member
from stream.store import Held
from stream.store.database import Transaction
from stream.store.lanes import Lane

_PAGE = 100  # deliveries between two commits, and in memory


class _Result(Struct):
    """What became of a page: who left in which fate, who died or failed of what; `due`: nothing more is tried until
    then."""

    left: dict[int, str] = field(default_factory=dict)
    died: dict[int, tuple[str, str]] = field(default_factory=dict)
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    due: float | None = None
    reason: str = ""
    got_on: bool = False
    closed: bool = False
    asked: bool = False


class HeldTurns:
    """Tries what is held of one lane after another."""

    def __init__(self, member: Member, following: Following, jitter: Callable[[], float]) -> None:
        self._member = member
        self._following = following
        self._jitter = jitter

    async def take(self, key: str, turns: Sequence[Turn]) -> bool:
        """One turn of a lane; those who wait for it hear what became of each delivery that was tried. Was the
        destination asked?"""
        became: dict[int, str] = {}
        try:
            async with self._following.during(key) as changing:
                return await self._take(key, any(turn.done is not None for turn in turns), changing, became)
        finally:
            if (lane := self._member.known.get(key)) is not None:
                self._member.known.keep(lane)  # however the turn ended, there is another one
            for turn in turns:
                if turn.done is not None and not turn.done.done():
                    turn.done.set_result(became)

    async def _take(self, key: str, wanted: bool, changing: asyncio.Lock, became: dict[int, str]) -> bool:
        asked = False
        while (lane := self._member.known.get(key)) is not None:
            if lane.due > self._member.now and not wanted:
                break  # there was a turn meanwhile
            result = await self._page(lane, changing)
            if result is None:
                break
            asked = asked or result.asked
            became |= result.left | {n: f"held:{why}" for n, (why, _) in (result.died | result.failed).items()}
            if result.closed or result.due is not None:
                break
        return asked

    async def _page(self, lane: Lane, changing: asyncio.Lock) -> _Result | None:
        """None if nothing of it may be started any more."""
        member, name = self._member, self._member.actor.name
        dead = member.actor.config.wait_behind_dead
        part = member.parts.get(lane.partition)
        if part is None or part.gone or member.stopped:
            return None
        page = await outlast(partial(member.around.store.lanes.first, name, lane.name, _PAGE, dead), name)
        result = _Result()
        pieces = [page] if member.actor.joins and page else [[one] for one in page]
        for piece in pieces:
            if part.gone or member.stopped or result.due is not None:
                break
            if piece is not pieces[0]:
                piece = await self._as_now(piece)
            if piece:
                await self._try(lane, piece, result)
        after = _after(lane, result)
        async with changing:
            if not await member.write({lane.partition}, partial(self._write, after, page, result)):
                return None
            if result.closed:
                member.known.remove(lane.name)
            else:
                member.known.keep(after)
        return result

    async def _as_now(self, piece: Sequence[Held]) -> Sequence[Held]:
        """The one before it took its time: meanwhile this one may have been edited, or let go."""
        member = self._member
        (one,) = piece
        found = await outlast(partial(member.around.store.held.get, one.id), member.actor.name)
        return [] if found is None else [found]

    async def _try(self, lane: Lane, piece: Sequence[Held], result: _Result) -> None:
        member, last = self._member, piece[-1]
        if any(one.state == "dead" for one in piece):
            result.due, result.reason = member.now + BLOCKED_S, lane.reason
            return
        try:
            asked = await member.act([one.to_try for one in piece], False)
        except Exception as error:  # as in attempts.py
            self._failed(lane, piece, error, result)
            return
        result.asked = result.asked or asked
        if asked:
            member.breaker.note(lane.name, False, member.now, None, member.lanes.keys)
        member.lived()
        result.got_on = True
        result.left |= {one.id: JOINED for one in piece[:-1]} | {last.id: "applied"}

    def _failed(self, lane: Lane, piece: Sequence[Held], error: Exception, result: _Result) -> None:
        member, last, now = self._member, piece[-1], self._member.now
        if isinstance(error, StoreError | LogError):
            error = NotYet("store", after=1.0)
        result.asked = result.asked or (isinstance(error, Retry) and not isinstance(error, NotYet))
        bugs = last.attempts if last.reason.startswith("bug:") else 0
        tries = policy.Tries(last.attempts, lane.since, bugs).another(error, now)
        match policy.decide(error, tries, member.situation(lane.name, [], tries), self._jitter()):
            case policy.Leave(fate):
                result.left |= {one.id: JOINED for one in piece[:-1]} | {last.id: fate}
                result.got_on = True
                member.lived()
            case policy.Die(reason):
                result.left |= {one.id: JOINED for one in piece[:-1]}
                result.died[last.id] = (reason, trace_of(error))
                result.got_on = True
                member.died(reason)
                if member.actor.config.wait_behind_dead:
                    result.due, result.reason = now + BLOCKED_S, reason
            case _:
                self._put_off(lane, piece, error, result)

    def _put_off(self, lane: Lane, piece: Sequence[Held], error: Exception, result: _Result) -> None:
        member = self._member
        config, now = member.actor.config, member.now
        after = error.after if isinstance(error, Retry) else None
        attempts = (0 if result.got_on else lane.attempts) + 1
        result.due = now + (policy.backoff(attempts, self._jitter(), config.longest_wait_s) if after is None else after)
        result.reason = error.reason if isinstance(error, Retry) else f"bug:{type(error).__name__}"
        if isinstance(error, NotYet):
            return
        trace = "" if isinstance(error, Retry) else trace_of(error)
        result.failed |= {one.id: (result.reason, trace) for one in piece}

    async def _write(self, lane: Lane, page: Sequence[Held], result: _Result, tx: Transaction) -> None:
        store, name = self._member.around.store, self._member.actor.name
        for one in page:
            if (fate := result.left.get(one.id)) and await store.held.remove(tx, one.id):
                await store.positions.advance(tx, name, {}, {one.delivery.partition: {f"left:{fate}": 1}})
        for number, why in result.died.items():
            await store.held.die(tx, number, *why)
        for number, why in result.failed.items():
            await store.held.fail(tx, number, *why)
        dead = self._member.actor.config.wait_behind_dead
        result.closed = await store.lanes.close(tx, name, lane.name, dead)
        if not result.closed:
            await store.lanes.put(tx, name, lane)


def _after(lane: Lane, result: _Result) -> Lane:
    """The lane after a page: a failure counts as one more attempt, unless it got on before."""
    attempts = 0 if result.got_on else lane.attempts
    if result.due is None:
        return structs.replace(lane, attempts=attempts)
    return structs.replace(
        lane, attempts=attempts + bool(result.failed), due=result.due, reason=result.reason or BEHIND
    )
