"""CaughtUp: until when a processor has dealt with everything.

The ends of the log are taken at a time; once every position has passed them, that time is kept, and the ends are taken
anew. So it is known under constant load too, when nobody is ever at the end. A member knows of its own partitions only:
whether the others have passed, wherever they run, the store says in the transaction that keeps it.
"""

from collections.abc import Callable, Collection, Mapping
from time import perf_counter

from stream.log import Log
from stream.message import Partition
from stream.store import Passed

EVERY_S = 1.0  # at most so often: the ends cost the embedded log 0.3 ms
_AGAIN_S = 0.2  # between two looks at whether the other members have passed, too
_PATIENCE_S = 5.0  # then newer ends are taken: whoever is slowest keeps its own, and notes them


class CaughtUp:
    """Of one member, for the topics that its processor reads."""

    def __init__(self, topics: Collection[str], log: Log, clock: Callable[[], float]) -> None:
        self._topics = topics
        self._log = log
        self._clock = clock
        self._asked: Passed | None = None
        self._noted = float("-inf")
        self._waits: float | None = None  # for the others, since then; perf_counter, as the next
        self._next = 0.0

    async def look(self) -> None:
        """Takes the ends of the log, if they are due."""
        now = self._clock()  # before the ends: what comes in between is beyond them, or older than it seems
        if self._waits is not None and perf_counter() - self._waits >= _PATIENCE_S:
            self._forget()
        if self._asked is None and abs(now - self._noted) >= EVERY_S:
            bounds = await self._log.bounds(self._topics)
            self._asked = Passed(now, {partition: end for partition, (_, end) in bounds.items()})

    def passed(self, positions: Mapping[Partition, int]) -> Passed | None:
        """What this member's positions have passed, and is to be noted if the others have, too."""
        if self._asked is None or perf_counter() < self._next:
            return None
        ends = self._asked.ends
        behind = any(position < ends.get(partition, 0) for partition, position in positions.items())
        return None if behind else self._asked

    def noted(self, passed: Passed, by_all: bool) -> None:
        """It was committed; or it will be, once the others have passed."""
        if by_all:
            self._noted = passed.time
            self._forget()
        else:
            self._next = perf_counter() + _AGAIN_S
            self._waits = perf_counter() if self._waits is None else self._waits

    def _forget(self) -> None:
        self._asked, self._waits, self._next = None, None, 0.0
