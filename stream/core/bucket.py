"""Rate-limit arithmetic: several limits at once, none of them exceeded in any window."""

import re
from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from stream.errors import ConfigError

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86_400.0}
_RATE = re.compile(r"([1-9][0-9]{0,8})/(s|min|h|day)")


class Rate(Struct, frozen=True):
    """So many requests in any stretch of so many seconds."""

    amount: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Of "40/s", "1200/min", "10000/h" or "100000/day". Raises ConfigError for anything else."""
        found = _RATE.fullmatch(text)
        if found is None:
            raise ConfigError(f'"{text}" is not a rate; allowed: "40/s", "1200/min", "10000/h", "100000/day"')
        return cls(int(found[1]), _SECONDS[found[2]])


class Buckets:
    """The tokens of one destination. Every request takes one of each rate; it comes back when its window is over."""

    def __init__(self, rates: Iterable[Rate], now: float) -> None:
        self._buckets = [_Bucket(rate) for rate in rates]
        self._paused = now

    def take(self, now: float) -> float:
        """0.0: a token of each is taken. Otherwise none is, and so many seconds must pass before one can be."""
        wait = max((bucket.wait(now) for bucket in self._buckets), default=0.0)
        wait = max(wait, self._paused - now)
        if wait > 0:
            return wait
        for bucket in self._buckets:
            bucket.take(now)
        return 0.0

    def give_back(self, taken: float) -> None:
        """The token taken at this time was not used: no request was made."""
        for bucket in self._buckets:
            bucket.give_back(taken)

    def pause(self, until: float) -> None:
        """Nobody gets a token before that time: the destination asked for it."""
        self._paused = max(self._paused, until)


class _Bucket:
    """What was taken in the last window, in at most some hundred slots: what was taken within a hundredth of a window
    counts as taken when the last of it was. So a burst may use all at once, and yet no window ever holds more. (A
    bucket that is filled drop by drop would give twice as much in its first window.)"""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._slots: deque[list[float]] = deque()  # first, last, how many
        self._taken = 0

    def wait(self, now: float) -> float:
        slots, seconds = self._slots, self._rate.seconds
        while slots and slots[0][1] + seconds <= now:
            self._taken -= int(slots.popleft()[2])
        return slots[0][1] + seconds - now if self._taken >= self._rate.amount else 0.0

    def take(self, now: float) -> None:
        self._taken += 1
        if self._slots and now - self._slots[-1][0] < self._rate.seconds / 100:
            slot = self._slots[-1]
            slot[1] = max(slot[1], now)
            slot[2] += 1
        else:
            self._slots.append([now, now, 1])

    def give_back(self, taken: float) -> None:
        for slot in reversed(self._slots):
            if slot[0] <= taken <= slot[1] and slot[2]:
                slot[2] -= 1
                self._taken -= 1
                return
