"""CaughtUp: until when a processor has dealt with everything.

The ends of the log are taken at a time; once every position has passed them, that time is kept, and the ends are taken
anew. So it is known under constant load too, when nobody is ever at the end.
"""

from collections.abc import Callable, Collection, Mapping

from stream.log import Log
from stream.message import Partition
from stream.store import Passed

EVERY_S = 1.0  # at most so often: the ends cost the embedded log 0.3 ms


class CaughtUp:
    """Of one member, for the topics that its processor reads."""

    def __init__(self, topics: Collection[str], log: Log, clock: Callable[[], float]) -> None:
        self._topics = topics
        self._log = log
        self._clock = clock
        self._asked: Passed | None = None
        self._noted = float("-inf")

    async def look(self) -> None:
        """Takes the ends of the log, if they are due."""
        now = self._clock()  # before the ends: what comes in between is beyond them, or older than it seems
        if self._asked is None and abs(now - self._noted) >= EVERY_S:
            bounds = await self._log.bounds(self._topics)
            self._asked = Passed(now, {partition: end for partition, (_, end) in bounds.items()})

    def passed(self, positions: Mapping[Partition, int]) -> Passed | None:
        """What this member's positions have passed, and nobody has noted yet."""
        if self._asked is None:
            return None
        ends = self._asked.ends
        behind = any(position < ends.get(partition, 0) for partition, position in positions.items())
        return None if behind else self._asked

    def noted(self, passed: Passed) -> None:
        """It was committed."""
        self._noted, self._asked = passed.time, None
