"""One batch of one projection: its events decoded, its rows loaded, handled in turns; nothing written yet."""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from stream import events
from stream.core.deaths import Deaths
from stream.core.sheet import Key, Missing, Sheet
from stream.events import Event
from stream.handling import HELD, Fate, Handling
from stream.log import Log
from stream.message import Delivery, Partition
from stream.processor import Projection
from stream.store import Store, Work
from stream.telemetry import Metrics
from stream.turns import Turns

_AHEAD = 1_000  # events looked at for rows that are missing, before they are loaded together


class Surroundings(Struct, frozen=True):
    """What all processors of a process share."""

    log: Log
    store: Store
    turns: Turns
    metrics: Metrics
    clock: Callable[[], float]


class Batch:
    """Deliveries on their way to fates, on rows freshly read. Handled anew after a conflict, by another Batch."""

    def __init__(self, projection: Projection, around: Surroundings, deliveries: Sequence[Delivery]) -> None:
        self.fates: list[Fate] = []
        self._name = projection.name
        self._around = around
        self._deliveries = deliveries
        self._sheet = Sheet()
        self._handling = Handling(projection, self._sheet, around.clock)
        self._events: list[Event | Fate] = []
        self._serial: int | None = None

    async def handle(self, deaths: Deaths) -> bool:
        """Gives every delivery its fate, in order. False: most of them die, and it stopped there."""
        await self._decode()
        await self._load(
            key for event in self._events if isinstance(event, Event) for key in self._handling.keys(event)
        )
        while len(self.fates) < len(self._deliveries):
            async with self._around.turns.next() as turn:
                lacking = self._handle(lambda: turn.over, deaths)
            if lacking is None:
                return False
            await self._load(lacking)
        return True

    def work(self) -> Work:
        """All that the fates so far amount to."""
        tallies: dict[Partition, dict[str, int]] = {}
        done = self._deliveries[: len(self.fates)]
        for delivery, fate in zip(done, self.fates, strict=True):
            tally = tallies.setdefault(delivery.partition, {})
            tally[fate.name] = tally.get(fate.name, 0) + 1
        sheet = self._sheet
        return Work(
            processor=self._name,
            claims={},
            positions={delivery.partition: delivery.offset + 1 for delivery in done},
            fates=tallies,
            loaded=sheet.loaded,
            puts=sheet.puts,
            tombstones=sheet.tombstones,
            serial=self._serial or 0,
            changes=sheet.changes,
            held=[fate.held for fate in self.fates if fate.held],
            now=self._around.clock(),
        )

    def _handle(self, is_over: Callable[[], bool], deaths: Deaths) -> list[Key] | None:
        """Handles until the turn is over, or rows are missing (which); None once most deliveries die."""
        while len(self.fates) < len(self._deliveries):
            at = len(self.fates)
            event = self._events[at]
            try:
                fate = event if isinstance(event, Fate) else self._handling.handle(self._deliveries[at], event)
            except Missing as missing:
                ahead = (e for e in self._events[at : at + _AHEAD] if isinstance(e, Event))
                return [missing.key, *self._handling.scout(ahead)]
            self.fates.append(fate)
            if deaths.add(fate.held is not None):
                return None
            if is_over():
                break
        return []

    async def _decode(self) -> None:
        while len(self._events) < len(self._deliveries):
            async with self._around.turns.next() as turn:
                while len(self._events) < len(self._deliveries):
                    self._events.append(self._decoded(self._deliveries[len(self._events)]))
                    if turn.over:
                        break

    def _decoded(self, delivery: Delivery) -> Event | Fate:
        try:
            return events.decode(delivery.message, delivery.time)
        except Exception as error:  # bytes that some other producer wrote to the topic
            return Fate(HELD, self._handling.hold(delivery, None, error))

    async def _load(self, keys: Iterable[Key]) -> None:
        lacking = self._sheet.lacks(keys)
        if lacking:
            rows = await self._around.store.load(lacking)
            self._sheet.load(rows.rows, rows.tombstones)
            # Of several loads the oldest counts: what was deleted after it must be seen at the commit.
            self._serial = rows.serial if self._serial is None else min(self._serial, rows.serial)
