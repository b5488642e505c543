"""Positions, claims, tallies and stops: how far each processor is, and who may say so."""

from collections.abc import Collection, Mapping

from msgspec import Struct

from stream.errors import ClaimLost
from stream.message import Partition
from stream.store.database import Database, Transaction

Fates = Mapping[Partition, Mapping[str, int]]


class Passed(Struct, frozen=True):
    """The ends of the log as they were at a time, which a processor may have passed."""

    time: float
    ends: Mapping[Partition, int]


class Positions:
    """How far each processor has dealt with each partition."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim(
        self, processor: str, starts: Mapping[Partition, int], log: str
    ) -> dict[Partition, tuple[int, int, str]]:
        """Takes the partitions for one member: (position, claim, log) of each. Every older claim writes nothing from
        now on. A partition without a position gets the given start, in this log."""
        rows = [(processor, p.topic, p.number, start, log) for p, start in sorted(starts.items())]
        async with self._db.write() as tx:
            await tx.many(
                "INSERT INTO positions (processor, topic, part, position, claim, log) VALUES (?, ?, ?, ?, 1, ?)"
                " ON CONFLICT (processor, topic, part) DO UPDATE SET claim = positions.claim + 1",
                rows,
            )
            found = await tx.all(
                "SELECT topic, part, position, claim, log FROM positions WHERE processor = ?", processor
            )
        every = {Partition(topic, part): (position, claim, of) for topic, part, position, claim, of in found}
        return {p: every[p] for p in starts}

    async def begin(self, processor: str, starts: Mapping[Partition, int], log: str) -> None:
        """Gives a processor these positions where it has none yet. Nobody claims them with it."""
        async with self._db.write() as tx:
            await tx.many(
                "INSERT INTO positions (processor, topic, part, position, claim, log) VALUES (?, ?, ?, ?, 0, ?)"
                " ON CONFLICT DO NOTHING",
                [(processor, p.topic, p.number, start, log) for p, start in sorted(starts.items())],
            )

    async def check(self, tx: Transaction, processor: str, claims: Mapping[Partition, int]) -> None:
        """Raises ClaimLost if any claim has moved on."""
        for partition in await self.lost(tx, processor, claims):
            raise ClaimLost(f"{processor} no longer owns {partition.topic}/{partition.number}")

    async def lost(self, tx: Transaction, processor: str, claims: Mapping[Partition, int]) -> list[Partition]:
        """Those partitions whose claim has moved on."""
        found = await tx.all("SELECT topic, part, claim FROM positions WHERE processor = ?", processor)
        now = {Partition(topic, part): claim for topic, part, claim in found}
        return [partition for partition, claim in claims.items() if now.get(partition) != claim]

    async def advance(self, tx: Transaction, processor: str, positions: Mapping[Partition, int], fates: Fates) -> None:
        """Moves the positions and adds to the tallies, in the transaction of what they stand for."""
        if positions:
            await tx.many(
                "UPDATE positions SET position = ? WHERE processor = ? AND topic = ? AND part = ?",
                [(position, processor, p.topic, p.number) for p, position in positions.items()],
            )
        tallied = [
            (processor, p.topic, p.number, fate, amount) for p, by in fates.items() for fate, amount in by.items()
        ]
        if tallied:
            await tx.many(
                "INSERT INTO tallies (processor, topic, part, fate, amount) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (processor, topic, part, fate) DO UPDATE SET amount = tallies.amount + excluded.amount",
                tallied,
            )

    async def catch_up(self, tx: Transaction, processor: str, passed: Passed) -> None:
        """Keeps that the processor had caught up at that time, if all of its members have passed those ends."""
        found = await tx.all("SELECT topic, part, position FROM positions WHERE processor = ?", processor)
        at = {Partition(topic, part): position for topic, part, position in found}
        if all(at.get(partition, 0) >= end for partition, end in passed.ends.items()):
            await tx.run(
                "INSERT INTO caught_up (processor, time) VALUES (?, ?) ON CONFLICT (processor)"
                " DO UPDATE SET time = excluded.time",
                *(processor, passed.time),
            )

    async def standing(self, tx: Transaction) -> dict[str, float | None]:
        """Until when each processor had dealt with everything; None: it stopped by itself."""
        caught_up = await tx.all("SELECT processor, time FROM caught_up")
        return {**dict(caught_up), **dict.fromkeys([name for (name,) in await tx.all("SELECT processor FROM stops")])}

    async def all(self) -> dict[str, dict[Partition, int]]:
        """Every processor's positions."""
        async with self._db.read() as tx:
            found = await tx.all("SELECT processor, topic, part, position FROM positions")
        return _by_processor(found)

    async def synced(self, log: str) -> dict[str, dict[Partition, int]]:
        """Every processor's positions in this log, on disk by now: what its retention may count on."""
        async with self._db.write(durable=True) as tx:
            await tx.run("UPDATE counters SET value = value + 1 WHERE name = 'synced'")
            found = await tx.all("SELECT processor, topic, part, position FROM positions WHERE log = ?", log)
        return _by_processor(found)

    async def fates(self) -> dict[str, dict[str, int]]:
        """Processor → fate → how many deliveries ended so."""
        async with self._db.read() as tx:
            found = await tx.all("SELECT processor, fate, sum(amount) FROM tallies GROUP BY processor, fate")
        fates: dict[str, dict[str, int]] = {}
        for processor, fate, amount in found:
            fates.setdefault(processor, {})[fate] = amount
        return fates

    async def stop(self, processor: str, reason: str, now: float, lasting: bool = True) -> None:
        """Keeps that a processor stopped by itself: until it is resumed, if `lasting`, else until it starts again. What
        it has not read meanwhile may matter: it counts as behind until it has caught up once more."""
        async with self._db.write() as tx:
            await tx.run("DELETE FROM caught_up WHERE processor = ?", processor)
            await tx.run(
                "INSERT INTO stops (processor, reason, lasting, time) VALUES (?, ?, ?, ?) ON CONFLICT (processor)"
                " DO UPDATE SET reason = excluded.reason, lasting = excluded.lasting, time = excluded.time",
                *(processor, reason, lasting, now),
            )

    async def forgive(self, processor: str) -> None:
        """A processor starts again: a stop that does not last is over."""
        async with self._db.write() as tx:
            await tx.run("DELETE FROM stops WHERE processor = ? AND NOT lasting", processor)

    async def resume(self, processor: str) -> bool:
        """Lets a stopped processor start again. False: it was not stopped."""
        async with self._db.write() as tx:
            return await tx.run("DELETE FROM stops WHERE processor = ?", processor) > 0

    async def stops(self) -> dict[str, str]:
        """Processors that stopped by themselves, with the reason."""
        async with self._db.read() as tx:
            return {processor: reason for processor, reason in await tx.all("SELECT processor, reason FROM stops")}


def _by_processor(found: Collection[tuple[str, str, int, int]]) -> dict[str, dict[Partition, int]]:
    positions: dict[str, dict[Partition, int]] = {}
    for processor, topic, part, position in found:
        positions.setdefault(processor, {})[Partition(topic, part)] = position
    return positions
