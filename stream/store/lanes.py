"""Held lanes: keys of syncs and reactors whose deliveries wait in held, to be tried again in order.

A lane is held while it has a row here; what comes for it meanwhile goes to held, behind the others. Whoever owns the
row's partition tries it, and that member alone makes and removes the row.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from stream.message import Partition
from stream.store.database import Database, Row, Transaction
from stream.store.held import COLUMNS, Held, held_of


class Lane(Struct, frozen=True, kw_only=True):
    """A held lane: when the first of its deliveries is tried next, how often that failed since it last got on, why, and
    since when the lane is held."""

    name: str
    partition: Partition
    attempts: int = 0
    due: float
    reason: str
    since: float


class Standing(Struct, frozen=True, kw_only=True):
    """How a held lane of a processor stands: how many deliveries wait in it, and the number of the first; where none
    waits, of the dead one that it waits for."""

    processor: str
    lane: Lane
    waiting: int
    first: int | None


class HeldLanes:
    """The held lanes of all processors."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of(self, processor: str, partitions: Collection[Partition] | None = None) -> list[Lane]:
        """Those of a processor, or only of some of its partitions; the earliest due first."""
        found = await self._db.reading(
            lambda tx: tx.all(
                "SELECT lane, topic, part, attempts, due, reason, since FROM lanes WHERE processor = ? ORDER BY due",
                processor,
            )
        )
        every = [_lane(row) for row in found]
        return [lane for lane in every if partitions is None or lane.partition in partitions]

    async def first(self, processor: str, name: str, limit: int, dead: bool) -> Sequence[Held]:
        """The first deliveries that wait in a lane, in order; with `dead`, the dead ones among them too."""
        waiting = "" if dead else " AND state = 'waiting'"
        found = await self._db.reading(
            lambda tx: tx.all(
                f"SELECT {COLUMNS} FROM held WHERE processor = ? AND lane = ?{waiting} ORDER BY id LIMIT ?",
                *(processor, name, limit),
            )
        )
        return [held_of(row) for row in found]

    async def put(self, tx: Transaction, processor: str, lane: Lane) -> None:
        """From now on the lane is held; it is due then, with so many attempts."""
        await tx.run(
            "INSERT INTO lanes (processor, lane, topic, part, attempts, due, reason, since)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (processor, lane) DO UPDATE SET"
            " attempts = excluded.attempts, due = excluded.due, reason = excluded.reason",
            *(processor, lane.name, *lane.partition, lane.attempts, lane.due, lane.reason, lane.since),
        )

    async def close(self, tx: Transaction, processor: str, name: str, dead: bool) -> bool:
        """It is no longer held, if nothing waits in it; with `dead`, if it holds nothing at all. Is it not?"""
        waits = "" if dead else " AND held.state = 'waiting'"
        return bool(
            await tx.run(
                "DELETE FROM lanes WHERE processor = ? AND lane = ? AND NOT EXISTS (SELECT 1 FROM held"
                f" WHERE held.processor = lanes.processor AND held.lane = lanes.lane{waits})",
                *(processor, name),
            )
        )

    async def revive(self, tx: Transaction, number: int) -> bool:
        """A dead delivery waits again, in its place. False: it is not held any more."""
        return await tx.run("UPDATE held SET state = 'waiting' WHERE id = ?", number) == 1

    async def offsets(self, processor: str, partition: Partition, position: int) -> dict[int, str]:
        """What is held of a partition, or was, from a position on, which has not passed it yet: offset → lane."""
        found = await self._db.reading(
            lambda tx: tx.all(
                f"SELECT position, lane FROM held WHERE {_BEYOND}"
                f" UNION ALL SELECT position, lane FROM released WHERE {_BEYOND}",
                *(processor, *partition, position) * 2,
            )
        )
        return dict(found)

    async def named(self, processor: str, names: Collection[str]) -> dict[str, Lane]:
        """Those of these lanes that are held."""
        found = await self._db.reading(
            lambda tx: tx.all(
                "SELECT lane, topic, part, attempts, due, reason, since FROM lanes"
                f" WHERE processor = ? AND {self._db.among('lane')}",
                *(processor, self._db.listed(names)),
            )
        )
        return {lane.name: lane for lane in map(_lane, found)}

    async def page(self, processor: str | None, reason: str | None, limit: int) -> list[Standing]:
        """How lanes stand, of a processor, or held for a reason; the earliest due first."""
        wanted = {"processor": processor, "reason": reason}
        where = " AND ".join(f"{column} = ?" for column, value in wanted.items() if value is not None) or "1 = 1"
        found = await self._db.reading(
            lambda tx: tx.all(
                f"SELECT lane, topic, part, attempts, due, reason, since, processor, {_WAITING}, {_FIRST}"
                f" FROM (SELECT * FROM lanes WHERE {where} ORDER BY due LIMIT ?) AS l ORDER BY due",
                *(value for value in wanted.values() if value is not None),
                limit,
            )
        )
        return [Standing(processor=row[7], lane=_lane(row[:7]), waiting=row[8], first=row[9]) for row in found]

    async def counts(self) -> dict[str, tuple[int, float]]:
        """Processor → how many lanes of it are held, and when the first of them is due."""
        found = await self._db.reading(
            lambda tx: tx.all("SELECT processor, count(*), min(due) FROM lanes GROUP BY processor")
        )
        return {processor: (amount, due) for processor, amount, due in found}


def _lane(row: Row) -> Lane:
    name, topic, part, attempts, due, reason, since = row
    return Lane(name=name, partition=Partition(topic, part), attempts=attempts, due=due, reason=reason, since=since)


_BEYOND = "processor = ? AND topic = ? AND part = ? AND position >= ?"
_OF = "FROM held WHERE held.processor = l.processor AND held.lane = l.lane"
_WAITING = f"(SELECT count(*) {_OF} AND held.state = 'waiting')"
_FIRST = f"coalesce((SELECT min(id) {_OF} AND held.state = 'waiting'), (SELECT min(id) {_OF}))"
