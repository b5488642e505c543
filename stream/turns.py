"""Turns: how plain functions of all processors share one event loop with the receiver."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from time import perf_counter

TURN_S = 0.002  # at most this much handling per turn of the loop, for all processors together


class Turn:
    """The right to keep the loop busy, until `over`."""

    def __init__(self, ends: float, timer: Callable[[], float]) -> None:
        self._ends = ends
        self._timer = timer

    @property
    def over(self) -> bool:
        """Is it time to let others run?"""
        return self._timer() >= self._ends


class Turns:
    """One turn at a time, whoever asks: a lock whose next holder starts in a later round of the loop."""

    def __init__(self, length: float = TURN_S, timer: Callable[[], float] = perf_counter) -> None:
        self._length = length
        self._timer = timer
        self._lock = asyncio.Lock()
        self._round_ends: float | None = None

    @contextlib.asynccontextmanager
    async def next(self) -> AsyncIterator[Turn]:
        """Waits for a turn."""
        async with self._lock:
            await asyncio.sleep(0)
            yield Turn(self._timer() + self._length, self._timer)

    def used_up(self) -> bool:
        """Has this round of the loop had its share of handling? For those who handle in small pieces, which may wait
        for something else in between, and who so cannot keep a turn: once it has, they let others run first."""
        if self._round_ends is None:
            self._round_ends = self._timer() + self._length
            asyncio.get_running_loop().call_soon(self._end_round)
            return False
        return self._timer() >= self._round_ends

    def _end_round(self) -> None:
        self._round_ends = None
