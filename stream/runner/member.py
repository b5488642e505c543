"""Member: what one member of a sync or reactor has in memory."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

from stream.batch import Surroundings
from stream.commits import Commits
from stream.core.breaker import Breaker
from stream.core.deaths import Deaths
from stream.core.lanes import Lanes, Taken
from stream.core.policy import Situation, Tries
from stream.errors import ClaimLost, Retry
from stream.message import Delivery, Partition
from stream.outage import outlast
from stream.runner.actor import Actor
from stream.runner.items import Fresh, Item
from stream.runner.known import Known
from stream.runner.part import Ledger, Part
from stream.runner.window import Window
from stream.store.database import Transaction
from stream.store.statuses import Status

_AHEAD = 50  # deliveries for each place in the window that may have ended behind an open one: a few bytes each
_REASONS = 20


class Cancelled(Exception):
    """An author's code was cancelled, and nobody had cancelled what runs it: a bug."""


class Member:
    """Its partitions, the lanes of what is in the window, which lanes are held, and what it saw of the destination."""

    def __init__(self, actor: Actor, around: Surroundings, commits: Commits) -> None:
        self.actor = actor
        self.around = around
        self.commits = commits
        self.lanes: Lanes[Item] = Lanes(actor.joins)
        self.parts: dict[Partition, Part] = {}
        self.known = Known()
        self.troubled: dict[str, tuple[Fresh, Retry]] = {}
        """Lanes that failed, and wait for their next try in memory."""
        self.breaker = Breaker()
        self.stopped = ""
        """Why, once most deliveries died: then nothing more is started."""
        self._deaths = Deaths()
        self._reasons: deque[str] = deque(maxlen=_REASONS)
        ended = around.metrics.deliveries
        self.window = Window(actor.config.window)
        self.ledger = Ledger(
            processor=actor.name,
            store=around.store,
            commits=commits,
            window=self.window,
            ended=lambda fate, amount: ended.labels(actor.name, fate).inc(amount),
        )

    @property
    def now(self) -> float:
        return self.around.clock()

    @property
    def room(self) -> int:
        """How many more deliveries may be fetched."""
        window = self.window
        ahead = sum(part.tracker.next - part.tracker.position for part in self.parts.values())
        return window.size - window.open if ahead < window.size * _AHEAD else 0

    def untried(self, but: str = "") -> bool:
        """Are there lanes in memory, but for this one, that did not fail when they were last asked?"""
        lanes, troubled = self.lanes, self.troubled
        return lanes.keys > len(troubled) + (bool(lanes.waiting(but)) and but not in troubled)

    async def act(self, deliveries: Sequence[Delivery], slow: bool) -> bool:
        """See Actor. Cancelled only if this task is: else what an author waited for was, and that is a bug."""
        try:
            return await self.actor.act(deliveries, slow)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise Cancelled from error

    def situation(self, key: str, tried: list[Fresh], tries: Tries) -> Situation:
        """What matters besides the failure of these deliveries of a lane."""
        config, full = self.actor.config, self.room <= 0
        return Situation(
            time=self.now,
            open=self.breaker.open,
            tells=self.breaker.tells(tries.since),
            waiting=self.lanes.waiting(key) + len(tried),
            window=config.window,
            full=full,
            stuck=full and not self.untried(key),
            room=len(self.known) < config.max_held_lanes,
            patience_s=config.patience_s,
        )

    def lived(self) -> None:
        """A delivery has ended well."""
        self._deaths.add(False)

    def died(self, reason: str) -> None:
        """A delivery has died."""
        self._reasons.append(reason)
        if self._deaths.add(True):
            self.stopped = f"most of its last deliveries died ({', '.join(sorted(set(self._reasons)))})"

    def concerns(self, taken: Taken[Item], partitions: Collection[Partition]) -> bool:
        """Is what was taken of these partitions?"""
        lane = self.known.get(taken.key)
        return (lane is not None and lane.partition in partitions) or any(
            isinstance(item, Fresh) and item.part.partition in partitions for item in taken.items
        )

    @property
    def status(self) -> Status:
        """How it stands."""
        breaker = self.breaker
        return Status(
            broken=breaker.since if breaker.open else None,
            probe=breaker.next_probe if breaker.open else None,
            oldest=min((at for part in self.parts.values() if (at := part.oldest) is not None), default=None),
        )

    def show(self) -> None:
        """Sets the gauges."""
        metrics, name, oldest = self.around.metrics, self.actor.name, self.status.oldest
        metrics.breaker_open.labels(name).set(self.breaker.open)
        metrics.held_lanes.labels(name).set(len(self.known))
        metrics.oldest_open.labels(name).set(0.0 if oldest is None else self.now - oldest)

    async def write(self, parts: set[Partition], body: Callable[[Transaction], Awaitable[None]]) -> bool:
        """Writes what concerns these partitions, under their claims. False, and nothing is written: another member has
        claimed one of them, which is lost."""
        claims = {partition: part.claim for partition, part in self.parts.items() if partition in parts}
        if len(claims) < len(parts) or any(self.parts[partition].lost for partition in parts):
            return False

        async def checked(tx: Transaction) -> None:
            await self.around.store.positions.check(tx, self.actor.name, claims)
            await body(tx)

        try:
            await outlast(partial(self.commits.write, checked), self.actor.name)
        except ClaimLost:
            await self.see_what_is_lost()
            return False
        return True

    async def see_what_is_lost(self) -> None:
        """Another member has claimed some partition of this one: nothing of it is started, or written, any more."""
        positions, name = self.around.store.positions, self.actor.name
        parts = dict(self.parts)
        claims = {partition: part.claim for partition, part in parts.items()}

        async def lost(tx: Transaction) -> list[Partition]:
            return await positions.lost(tx, name, claims)

        gone = await outlast(partial(self.around.store.db.reading, lost), name)
        self.forget([parts[partition] for partition in gone])
        for partition in gone:
            parts[partition].lost = parts[partition].gone = True

    def forget(self, parts: Collection[Part]) -> None:
        """Which lanes of them are held: not of a partition that has come back meanwhile, under another claim."""
        self.known.forget([part.partition for part in parts if self.parts.get(part.partition) in (part, None)])
