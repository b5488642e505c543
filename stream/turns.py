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

    @contextlib.asynccontextmanager
    async def next(self) -> AsyncIterator[Turn]:
        """Waits for a turn."""
        async with self._lock:
            await asyncio.sleep(0)
            yield Turn(self._timer() + self._length, self._timer)
