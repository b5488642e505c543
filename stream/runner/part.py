"""Part: one partition while this member owns it."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter

from msgspec import Struct

from stream.commits import Commits
from stream.core.tracker import Passed, Tracker
from stream.errors import ClaimLost
from stream.message import Delivery, Partition
from stream.outage import outlast
from stream.runner.window import Window
from stream.start import Owned
from stream.store import Store
from stream.store.database import Transaction

HELD = "held"
REPEATED = "skipped:repeated"


class Ledger(Struct, frozen=True):
    """Where and how the positions of one processor are written. `ended` hears of every fate, once it is committed."""

    processor: str
    store: Store
    commits: Commits
    window: Window
    ended: Callable[[str, int], None]


class Part:
    """One partition while this member owns it: what is open of it, and how far it is written."""

    def __init__(self, partition: Partition, owned: Owned, ledger: Ledger, held: Mapping[int, str]) -> None:
        self.partition = partition
        self.claim = owned.claim
        self.tracker = Tracker(owned.position)
        self.gone = False
        """Nothing more of it is started: it goes to another member, or has gone."""
        self.lost = False
        """Another member has claimed it: nothing more of it is written."""
        self.since: float | None = None
        """The oldest of what has ended and is not written yet, by perf_counter."""
        self._ledger = ledger
        self._held = held
        # A lane gets on in order: whatever came before one that is held has ended, though the position is not past it.
        self._ended: dict[str, int] = {}
        for offset, lane in held.items():
            self._ended[lane] = max(offset, self._ended.get(lane, -1))
        self._fetched: deque[tuple[int, float]] = deque()  # of each fetch: the first offset, and when it was taken
        self._writing: asyncio.Task[None] | None = None
        self._left = False

    def open(self, delivery: Delivery, lane: str) -> bool:
        """Is this delivery to be acted on? Not if it was fetched before, or if an earlier run has dealt with it."""
        offset = delivery.offset
        if offset < self.tracker.next:
            return False
        self.tracker.open(offset)
        self._ledger.window.more()
        if not self._ended or offset > self._ended.get(lane, -1):
            return True
        self.close(offset, HELD if offset in self._held else REPEATED)
        if self._ended[lane] == offset:
            del self._ended[lane]
        return False

    def close(self, offset: int, fate: str) -> None:
        """A delivery has ended. The position past it is written soon."""
        if self._left:  # by what outlasted its grace
            return
        self.tracker.close(offset, fate)
        self._ledger.window.less()
        if self.since is None:
            self.since = perf_counter()

    def fetched(self, delivery: Delivery) -> None:
        """The first of some that were just fetched."""
        self._fetched.append((delivery.offset, delivery.time))

    @property
    def oldest(self) -> float | None:
        """About when the oldest delivery was taken that has not ended."""
        while len(self._fetched) > 1 and self._fetched[1][0] <= self.tracker.position:
            self._fetched.popleft()
        return self._fetched[0][1] if self._fetched and self.tracker.position < self.tracker.next else None

    def leave(self) -> None:
        """It is not this member's any more: what is open of it has no fate, and gets none. May be called again."""
        self.gone = self.lost = True
        if not self._left:
            self._left = True
            self._ledger.window.less(self.tracker.amount)
        if self._writing is not None:  # what it stands for is read again
            self._writing.cancel()

    async def write(self) -> None:
        """Everything that had ended is written, or the partition is lost."""
        while not self.lost and (self.since is not None or self._writing is not None):
            if self._writing is None:
                self._writing = asyncio.create_task(self._write())
            # A task of its own: whoever is cancelled here must not leave it unknown what was committed; and who waits
            # while leave() cancels it goes on.
            writing = self._writing
            await asyncio.wait([writing])
            if not (writing.cancelled() and self.lost):
                writing.result()

    async def _write(self) -> None:
        try:
            self.since = None
            passed = self.tracker.passed()
            if passed.position == self.tracker.position:
                return
            ledger = self._ledger
            write = partial(ledger.commits.write, partial(self._advance, passed), durable=False)
            await outlast(write, ledger.processor)
            self.tracker.written(passed)
            ledger.store.positions.written(
                ledger.processor, {self.partition: self.claim}, {self.partition: passed.position}
            )
            for fate, amount in passed.fates.items():
                ledger.ended(fate, amount)
        except ClaimLost:
            self.lost = self.gone = True
        finally:
            self._writing = None

    async def _advance(self, passed: Passed, tx: Transaction) -> None:
        positions, name, partition = self._ledger.store.positions, self._ledger.processor, self.partition
        await positions.check(tx, name, {partition: self.claim})
        await positions.advance(tx, name, {partition: passed.position}, {partition: passed.fates})
        if HELD in passed.fates:
            await self._ledger.store.held.passed(tx, name, partition, passed.position)
