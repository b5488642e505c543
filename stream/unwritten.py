"""Positions past batches that changed nothing.

Most events concern few processors. Such a batch need not be a transaction of its own: its position and fates are
written with the next one that changes something, or when there is nothing to read, or after a short while. What a
crash takes is read and passed over once more.
"""

from stream.message import Partition
from stream.store import Work

LONGEST_S = 0.5


class Unwritten:
    """What one member has dealt with and not written yet. `since`: the oldest of it, on the loop's clock."""

    def __init__(self) -> None:
        self.since: float | None = None
        self._positions: dict[Partition, int] = {}
        self._fates: dict[Partition, dict[str, int]] = {}

    def due(self, now: float) -> bool:
        """Has some of it waited long enough?"""
        return self.since is not None and now - self.since >= LONGEST_S

    def add(self, work: Work, now: float) -> None:
        """Keeps a batch's positions and fates."""
        self.since = now if self.since is None else self.since
        joined = self.with_all_of(work)
        self._positions, self._fates = joined.positions, joined.fates

    def with_all_of(self, work: Work) -> Work:
        """The work, and what is unwritten before it."""
        work.positions = {**self._positions, **work.positions}
        fates = {partition: dict(tally) for partition, tally in self._fates.items()}
        for partition, tally in work.fates.items():
            joined = fates.setdefault(partition, {})
            for fate, amount in tally.items():
                joined[fate] = joined.get(fate, 0) + amount
        work.fates = fates
        return work

    def clear(self) -> None:
        """It is written, or no longer ours to write."""
        self.since, self._positions, self._fates = None, {}, {}
