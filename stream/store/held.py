"""Held: deliveries that had to leave the fast path, with their bytes, their reason, and their place."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stream.message import Delivery, Message, Partition
from stream.store.database import Database, Row, Transaction


class Held(Struct, frozen=True, kw_only=True):
    """One held delivery. `state` is "dead" (needs a person) or "waiting" (its lane is tried again by itself); `lane` is
    its lane's name (empty: a projection's); `time` is its event's, `since` when it came here."""

    id: int = 0
    processor: str
    delivery: Delivery
    lane: str = ""
    subject: str
    time: float
    reason: str
    trace: str = ""
    state: str = "dead"
    attempts: int = 1
    since: float = 0.0
    edited: bytes | None = None

    @property
    def marks(self) -> list[tuple[str, str]]:
        """Whom it concerns that this leaves: nothing was given to somebody whose consent lay in held."""
        return [(self.subject, "consent")] if self.processor in ("consent", "deletion") else []

    @property
    def to_try(self) -> Delivery:
        """The delivery as it is to be tried again: with the edited bytes, where there are any."""
        if self.edited is None:
            return self.delivery
        message = self.delivery.message
        return msgspec.structs.replace(
            self.delivery, message=Message(message.topic, message.key, self.edited, message.headers)
        )


class HeldTable:
    """All that is held."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, tx: Transaction, held: Sequence[Held]) -> None:
        """Keeps deliveries, in the transaction that moves the position past them."""
        await tx.many(
            "INSERT INTO held (processor, topic, part, position, taken, lane, subject, time, state, reason, trace,"
            " attempts, since, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [_row(one) for one in held],
        )

    async def fail(self, tx: Transaction, number: int, reason: str, trace: str) -> None:
        """One more attempt that did not help."""
        await tx.run(
            "UPDATE held SET attempts = attempts + 1, reason = ?, trace = ? WHERE id = ?", reason, trace, number
        )

    async def remove(self, tx: Transaction, number: int) -> bool:
        """Lets a delivery leave. False: it had left before."""
        await tx.run(f"{RELEASE} WHERE held.id = ? ON CONFLICT DO NOTHING", number)
        return await tx.run("DELETE FROM held WHERE id = ?", number) == 1

    async def passed(self, tx: Transaction, processor: str, at: Partition, position: int) -> None:
        """Forgets who left, of what lies before this position: nobody reads it again."""
        await tx.run(
            "DELETE FROM released WHERE processor = ? AND topic = ? AND part = ? AND position < ?",
            *(processor, *at, position),
        )

    async def die(self, tx: Transaction, number: int, reason: str, trace: str) -> None:
        """One more attempt, and no other will help: from now on it needs a person."""
        await tx.run(
            "UPDATE held SET state = 'dead', attempts = attempts + 1, reason = ?, trace = ? WHERE id = ?",
            *(reason, trace, number),
        )

    async def page(
        self,
        processor: str | None = None,
        reason: str | None = None,
        limit: int = 1_000,
        after: int = 0,
        state: str | None = None,
    ) -> Sequence[Held]:
        """Held deliveries in the order they came, after the given number; with None, any."""
        given = {"processor": processor, "reason": reason, "state": state}
        wanted = {column: value for column, value in given.items() if value is not None}
        # Narrowed, no index has their order: +id keeps the search within one that has all that is asked. A million are
        # looked through in 0.2 s; the table, with its bytes, in many seconds.
        order = "+id" if wanted else "id"
        where = " AND ".join([*(f"{column} = ?" for column in wanted), f"{order} > ?"])
        found = await self._select(
            f"id IN (SELECT id FROM held WHERE {where} ORDER BY {order} LIMIT ?) ORDER BY id",
            *(*wanted.values(), after, limit),
        )
        return [held_of(row) for row in found]

    async def get(self, number: int) -> Held | None:
        """One held delivery."""
        return next((held_of(row) for row in await self._select("id = ?", number)), None)

    async def of(self, subjects: Sequence[str]) -> Sequence[Held]:
        """All that is held about some subjects."""
        found = await self._select(f"{self._db.among('subject')} ORDER BY id", self._db.listed(subjects))
        return [held_of(row) for row in found]

    async def edit(self, number: int, value: bytes) -> bool:
        """Keeps bytes to be tried instead; the original stays. False: it is not held any more."""
        return await self._db.writing(lambda tx: tx.run("UPDATE held SET edited = ? WHERE id = ?", value, number)) == 1

    async def counts(self) -> dict[str, dict[str, int]]:
        """Processor → reason → how many."""
        found = await self._db.reading(
            lambda tx: tx.all("SELECT processor, reason, count(*) FROM held GROUP BY processor, reason")
        )
        counts: dict[str, dict[str, int]] = {}
        for processor, reason, amount in found:
            counts.setdefault(processor, {})[reason] = amount
        return counts

    async def _select(self, where: str, *params: Any) -> list[Row]:
        return await self._db.reading(lambda tx: tx.all(f"SELECT {COLUMNS} FROM held WHERE {where}", *params))


RELEASE = (
    "INSERT INTO released (processor, topic, part, position, lane)"
    " SELECT held.processor, held.topic, held.part, held.position, held.lane FROM held JOIN positions"
    " ON positions.processor = held.processor AND positions.topic = held.topic AND positions.part = held.part"
    " AND positions.position <= held.position"
)
"""Keeps, of the deliveries that a WHERE behind it names, which leave before the position has passed them."""

COLUMNS = (
    "id, processor, topic, part, position, taken, lane, subject, time, state, reason, trace, attempts, since, message,"
    " edited"
)
"""What held_of() reads, in its order."""


def held_of(row: Row) -> Held:
    """A row of `COLUMNS`."""
    number, processor, topic, part, offset, taken, lane, subject, time, state, reason, trace, attempts, since = row[:14]
    return Held(
        id=number,
        processor=processor,
        delivery=Delivery(_MESSAGE.decode(row[14]), Partition(topic, part), offset, taken),
        lane=lane,
        subject=subject,
        time=time,
        state=state,
        reason=reason,
        trace=trace,
        attempts=attempts,
        since=since,
        edited=row[15],
    )


def _row(one: Held) -> Row:
    at, taken = one.delivery.partition, one.delivery.time
    return (
        *(one.processor, at.topic, at.number, one.delivery.offset, taken, one.lane, one.subject, one.time),
        *(one.state, one.reason, one.trace, one.attempts, one.since, _encode(one.delivery.message)),
    )


_encode = msgspec.msgpack.Encoder().encode
_MESSAGE = msgspec.msgpack.Decoder(Message)
