"""Slots: whose request may go out next at one destination, and when."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence

from stream.core.bucket import Buckets, Rate
from stream.errors import NotYet

LONGEST_S = 30.0  # waited for a turn inside a request; beyond that, whoever asked is better off knowing

_Turn = asyncio.Future[float]


def rank(gives: bool, slow: bool) -> int:
    """0 goes first: withdrawals, then what gives; then walks, in the same order."""
    return 2 * slow + gives


class Slots:
    """So many requests at once, and no more than the rates allow. Walks get a quarter of the slots (at least one) and
    half of each rate at most, so that what is live soon finds its own."""

    def __init__(
        self, amount: int, rates: Sequence[Rate], clock: Callable[[], float], patience_s: float = LONGEST_S
    ) -> None:
        self._free = amount
        self._free_for_slow = max(1, amount // 4)
        self._buckets = Buckets(rates, clock())
        self._buckets_for_slow = Buckets([Rate(max(1, rate.amount // 2), rate.seconds) for rate in rates], clock())
        self._clock = clock
        self._patience_s = patience_s
        self._waiting: tuple[deque[_Turn], ...] = tuple(deque() for _ in range(4))
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, rank: int) -> float:
        """Waits for a slot and for what the rates ask; the time at which it has both. `release` must follow. Raises
        NotYet where that takes long."""
        if (now := self._at_once(rank)) is not None:
            return now
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._waiting[rank].append(turn)
        self._grant()
        if turn.done():
            return turn.result()
        try:
            async with asyncio.timeout(self._patience_s):
                return await turn
        except BaseException as error:
            self._abandon(rank, turn)
            if isinstance(error, TimeoutError):
                raise NotYet("busy", after=1.0) from None
            raise

    def release(self, rank: int, unused: float | None = None) -> None:
        """The slot is free again. `unused`: nothing went out of what was taken at this time, so it is not counted."""
        if unused is not None:
            self._give_back(rank, unused)
        self._free += 1
        self._free_for_slow += _is_slow(rank)
        self._grant()

    def pause(self, seconds: float) -> None:
        """Nobody sends before that."""
        self._buckets.pause(self._clock() + seconds)
        self._grant()

    def close(self) -> None:
        """Grants nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _at_once(self, rank: int) -> float | None:
        """The time, if there is a slot that nobody waits for."""
        if any(self._waiting[: rank + 1]) or not (self._free_for_slow if _is_slow(rank) else self._free):
            return None
        now = self._clock()
        if not self._free or self._wait(rank, now) > 0:
            return None
        self._free -= 1
        self._free_for_slow -= _is_slow(rank)
        return now

    def _grant(self) -> None:
        while (rank := self._next()) is not None:
            now = self._clock()
            if (wait := self._wait(rank, now)) > 0:
                self._put_off(wait)
                return
            self._free -= 1
            self._free_for_slow -= _is_slow(rank)
            self._waiting[rank].popleft().set_result(now)

    def _next(self) -> int | None:
        if not self._free:
            return None
        for rank in range(4 if self._free_for_slow else 2):
            queue = self._waiting[rank]
            while queue and queue[0].done():  # cancelled, and not yet taken out by whoever waited
                queue.popleft()
            if queue:
                return rank
        return None

    def _wait(self, rank: int, now: float) -> float:
        if not _is_slow(rank):
            return self._buckets.take(now)
        wait = self._buckets_for_slow.take(now)
        if wait > 0:
            return wait
        wait = self._buckets.take(now)
        if wait > 0:
            self._buckets_for_slow.give_back(now)
        return wait

    def _give_back(self, rank: int, taken: float) -> None:
        self._buckets.give_back(taken)
        if _is_slow(rank):
            self._buckets_for_slow.give_back(taken)

    def _put_off(self, wait: float) -> None:
        self.close()
        if wait <= self._patience_s:
            self._timer = asyncio.get_running_loop().call_later(wait, self._grant)
            return
        for turn in itertools.chain(*self._waiting):
            if not turn.done():
                turn.set_exception(NotYet("rate_limited", after=wait))
        for queue in self._waiting:
            queue.clear()

    def _abandon(self, rank: int, turn: _Turn) -> None:
        if turn in self._waiting[rank]:
            self._waiting[rank].remove(turn)
        elif turn.done() and not turn.cancelled() and turn.exception() is None:
            self.release(rank, unused=turn.result())  # granted in the very moment in which it was given up


def _is_slow(rank: int) -> bool:
    return rank >= 2
