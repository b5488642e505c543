"""Positions, claims, tallies and stops: how far each processor is, and who may say so."""

from collections.abc import Collection, Mapping

from msgspec import Struct

from stream.errors import ClaimLost, WentBack
from stream.message import Partition
from stream.store.database import Database, Row, Transaction

Fates = Mapping[Partition, Mapping[str, int]]


class Passed(Struct, frozen=True):
    """The ends of the log as they were at a time, which a processor may have passed."""

    time: float
    ends: Mapping[Partition, int]


class Positions:
    """How far each processor has dealt with each partition."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._written: dict[tuple[str, str, int, int], int] = {}  # what this process has written, by claim

    async def claim(
        self, processor: str, starts: Mapping[Partition, int], logs: Mapping[str, str]
    ) -> dict[Partition, tuple[int, int, str]]:
        """Takes the partitions for one member: (position, claim, log) of each. Every older claim writes nothing from
        now on. A partition without a position gets the given start, in the log that `logs` names for its topic."""
        rows = [(processor, p.topic, p.number, start, logs[p.topic]) for p, start in sorted(starts.items())]

        async def write(tx: Transaction) -> list[Row]:
            await tx.many(
                "INSERT INTO positions (processor, topic, part, position, claim, log) VALUES (?, ?, ?, ?, 1, ?)"
                " ON CONFLICT (processor, topic, part) DO UPDATE SET claim = positions.claim + 1",
                rows,
            )
            return await tx.all(
                "SELECT topic, part, position, claim, log FROM positions WHERE processor = ?", processor
            )

        found = await self._db.writing(write, beside=True)
        every = {Partition(topic, part): (position, claim, of) for topic, part, position, claim, of in found}
        return {p: every[p] for p in starts}

    async def begin(self, processor: str, starts: Mapping[Partition, int], logs: Mapping[str, str]) -> None:
        """Gives a processor these positions where it has none yet. Nobody claims them with it."""
        await self._db.writing(
            lambda tx: tx.many(
                "INSERT INTO positions (processor, topic, part, position, claim, log) VALUES (?, ?, ?, ?, 0, ?)"
                " ON CONFLICT DO NOTHING",
                [(processor, p.topic, p.number, start, logs[p.topic]) for p, start in sorted(starts.items())],
            )
        )

    async def place(self, processor: str, positions: Mapping[Partition, int], logs: Mapping[str, str]) -> None:
        """Puts a processor there, whatever it has read. Whoever has claimed these partitions writes nothing any more.
        What is held of another log keeps its place in its lane, and no offset of this one."""
        rows = [(processor, p.topic, p.number, at, logs[p.topic]) for p, at in sorted(positions.items())]
        another = (
            "processor = ? AND topic = ? AND part = ? AND position >= 0 AND EXISTS (SELECT 1 FROM positions WHERE"
            " processor = ? AND topic = ? AND part = ? AND log <> ?)"
        )
        foreign = [(*place, *place, logs[place[1]]) for place in (row[:3] for row in rows)]

        async def write(tx: Transaction) -> None:
            await tx.many(f"UPDATE held SET position = -id WHERE {another}", foreign)
            await tx.many(f"DELETE FROM released WHERE {another}", foreign)
            await tx.many(
                "INSERT INTO positions (processor, topic, part, position, claim, log) VALUES (?, ?, ?, ?, 1, ?)"
                " ON CONFLICT (processor, topic, part) DO UPDATE SET position = excluded.position, log = excluded.log,"
                " claim = positions.claim + 1",
                rows,
            )
            await tx.run("DELETE FROM caught_up WHERE processor = ?", processor)

        await self._db.writing(write)

    async def places(self, processor: str) -> dict[Partition, tuple[int, str]]:
        """Where it is in each partition, and of which log."""
        found = await self._db.reading(
            lambda tx: tx.all("SELECT topic, part, position, log FROM positions WHERE processor = ?", processor)
        )
        return {Partition(topic, part): (position, log) for topic, part, position, log in found}

    async def check(self, tx: Transaction, processor: str, claims: Mapping[Partition, int]) -> None:
        """Raises ClaimLost if any claim has moved on; else none of them does until the transaction ends. WentBack: a
        position is before what was `written` under its claim."""
        if not claims:
            return
        found = await tx.all(
            f"SELECT topic, part, claim, position FROM positions WHERE processor = ? AND {self._db.among(_AT)}"
            f" ORDER BY topic, part{self._db.locking}",
            processor,
            self._db.listed(f"{partition.topic}/{partition.number}" for partition in claims),
        )
        for partition in _moved(found, claims):
            raise ClaimLost(f"{processor} no longer owns {partition.topic}/{partition.number}")
        for topic, part, claim, position in found:
            if self._written.get((processor, topic, part, claim), position) > position:
                raise WentBack(f"the store has forgotten how far {processor} was in {topic}/{part}: was it put back?")

    def written(self, processor: str, claims: Mapping[Partition, int], positions: Mapping[Partition, int]) -> None:
        """These positions are committed, under these claims."""
        for partition, claim in claims.items():
            if partition in positions:
                self._written[processor, *partition, claim] = positions[partition]

    async def lost(self, tx: Transaction, processor: str, claims: Mapping[Partition, int]) -> list[Partition]:
        """Those partitions whose claim has moved on."""
        found = await tx.all("SELECT topic, part, claim FROM positions WHERE processor = ?", processor)
        return _moved(found, claims)

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

    async def catch_up(self, tx: Transaction, processor: str, passed: Passed, now: float) -> bool:
        """Keeps that the processor had caught up at that time, if all of its members have passed those ends, wherever
        they run. The newest time counts, unless it lies ahead: a clock was wrong."""
        found = await tx.all("SELECT topic, part, position FROM positions WHERE processor = ?", processor)
        at = {Partition(topic, part): position for topic, part, position in found}
        if any(at.get(partition, 0) < end for partition, end in passed.ends.items()):
            return False
        await tx.run(
            "INSERT INTO caught_up (processor, time) VALUES (?, ?) ON CONFLICT (processor)"
            " DO UPDATE SET time = excluded.time WHERE caught_up.time < excluded.time OR caught_up.time > ?",
            *(processor, passed.time, now),
        )
        return True

    async def standing(self, tx: Transaction) -> dict[str, float | None]:
        """Until when each processor had dealt with everything; None: it stopped by itself. What a receiver could not
        put into the log yet, nobody has dealt with."""
        caught_up = await tx.all("SELECT processor, time FROM caught_up")
        spills = await tx.all("SELECT since, moved FROM spills")
        stopped = [name for (name,) in await tx.all("SELECT processor FROM stops")]
        # What came into the log late is dealt with once all is that was there when it had come.
        times = {
            name: min([time, *(since for since, moved in spills if moved is None or time < moved)])
            for name, time in caught_up
        }
        return {**times, **dict.fromkeys(stopped)}

    async def all(self) -> dict[str, dict[Partition, int]]:
        """Every processor's positions."""
        found = await self._db.reading(lambda tx: tx.all("SELECT processor, topic, part, position FROM positions"))
        return _by_processor(found)

    async def synced(self, log: str) -> dict[str, dict[Partition, int]]:
        """Every processor's positions in this log, on disk by now: what its retention may count on."""

        async def write(tx: Transaction) -> list[Row]:
            await tx.run("UPDATE counters SET value = value + 1 WHERE name = 'synced'")
            return await tx.all("SELECT processor, topic, part, position FROM positions WHERE log = ?", log)

        return _by_processor(await self._db.writing(write, beside=True))

    async def fates(self) -> dict[str, dict[str, int]]:
        """Processor → fate → how many deliveries ended so."""
        found = await self._db.reading(
            lambda tx: tx.all(
                "SELECT processor, fate, CAST(sum(amount) AS BIGINT) FROM tallies GROUP BY processor, fate"
            )
        )
        fates: dict[str, dict[str, int]] = {}
        for processor, fate, amount in found:
            fates.setdefault(processor, {})[fate] = amount
        return fates

    async def stop(self, processor: str, reason: str, now: float, lasting: bool = True) -> None:
        """Keeps that a processor stopped by itself: until it is resumed, if `lasting`, else until it starts again. What
        it has not read meanwhile may matter: it counts as behind until it has caught up once more."""

        async def write(tx: Transaction) -> None:
            await tx.run("DELETE FROM caught_up WHERE processor = ?", processor)
            await tx.run(
                "INSERT INTO stops (processor, reason, lasting, time) VALUES (?, ?, ?, ?) ON CONFLICT (processor)"
                " DO UPDATE SET reason = excluded.reason, lasting = excluded.lasting, time = excluded.time",
                *(processor, reason, lasting, now),
            )

        await self._db.writing(write)

    async def forgive(self, processor: str) -> None:
        """A processor starts again: a stop that does not last is over."""
        await self._db.writing(lambda tx: tx.run("DELETE FROM stops WHERE processor = ? AND NOT lasting", processor))

    async def resume(self, processor: str) -> bool:
        """Lets a stopped processor start again. False: it was not stopped."""
        return await self._db.writing(lambda tx: tx.run("DELETE FROM stops WHERE processor = ?", processor)) > 0

    async def stops(self) -> dict[str, str]:
        """Processors that stopped by themselves, with the reason."""
        return dict(await self._db.reading(lambda tx: tx.all("SELECT processor, reason FROM stops")))


def _moved(found: Collection[Row], claims: Mapping[Partition, int]) -> list[Partition]:
    now = {Partition(topic, part): claim for topic, part, claim, *_ in found}
    return [partition for partition, claim in claims.items() if now.get(partition) != claim]


def _by_processor(found: Collection[Row]) -> dict[str, dict[Partition, int]]:
    positions: dict[str, dict[Partition, int]] = {}
    for processor, topic, part, position in found:
        positions.setdefault(processor, {})[Partition(topic, part)] = position
    return positions


_AT = "topic || '/' || part"
