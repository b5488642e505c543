"""One batch of one projection: its events opened, its rows loaded, handled in turns; nothing written yet."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from stream import events
from stream.core.deaths import Deaths
from stream.core.sheet import Key, Missing, Sheet
from stream.handling import Fate, Handling
from stream.log import Log
from stream.message import Delivery, Partition
from stream.processor import Projection
from stream.store import Store, Work
from stream.telemetry import Metrics
from stream.turns import Turn, Turns

_STRIDE = 16  # events between two looks at the clock: some tenths of a millisecond
_AHEAD = 200  # events looked at for rows that are missing, before they are loaded together


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
        self._events = [events.decode(delivery.message, delivery.time) for delivery in deliveries]
        self._serial: int | None = None

    async def handle(self, deaths: Deaths) -> bool:
        """Gives every delivery its fate, in order. False: most of them die, and it stopped there."""
        await self._load(await self._look())
        while len(self.fates) < len(self._deliveries):
            async with self._around.turns.next() as turn:
                lacking = self._handle(turn, deaths)
            if lacking is None:
                return False
            await self._load(lacking)
        return True

    def work(self) -> Work:
        """All that the fates so far amount to."""
        done = self._deliveries[: len(self.fates)]
        tallies: dict[Partition, dict[str, int]] = {}
        ends = ((delivery.partition, fate.name) for delivery, fate in zip(done, self.fates, strict=True))
        for (partition, name), amount in Counter(ends).items():
            tallies.setdefault(partition, {})[name] = amount
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

    def _handle(self, turn: Turn, deaths: Deaths) -> list[Key] | None:
        """Handles until the turn is over, or rows are missing (which); None once most deliveries die."""
        while not turn.over and len(self.fates) < len(self._deliveries):
            at = len(self.fates)
            some = slice(at, at + _STRIDE)
            for delivery, event in zip(self._deliveries[some], self._events[some], strict=True):
                try:
                    fate = self._handling.handle(delivery, event)
                except Missing as missing:
                    at = len(self.fates)
                    return [missing.key, *self._handling.scout(self._events[at : at + _AHEAD])]
                self.fates.append(fate)
                if deaths.add(fate.held is not None):
                    return None
        return []

    async def _look(self) -> list[Key]:
        """The rows to load ahead."""
        keys: list[Key] = []
        at = 0
        while at < len(self._events):
            async with self._around.turns.next() as turn:
                while not turn.over and at < len(self._events):
                    keys += [key for event in self._events[at : at + _STRIDE] for key in self._handling.keys(event)]
                    at += _STRIDE
        return keys

    async def _load(self, keys: Iterable[Key]) -> None:
        lacking = self._sheet.lacks(keys)
        if lacking:
            rows = await self._around.store.load(lacking)
            self._sheet.load(rows.rows, rows.tombstones, rows.unerased)
            # Of several loads the oldest counts: what was deleted after it must be seen at the commit.
            self._serial = rows.serial if self._serial is None else min(self._serial, rows.serial)
