"""Deletions: requests to forget a person, from the tombstone to the receipt."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from stream.message import Partition
from stream.store.database import Database, Row, Transaction
from stream.store.linking import Linking
from stream.store.people import People

Prune = Callable[[str, str, float], str | None]
"""Table, encoded row, time → what is left of the row when everything up to that time is forgotten; None: nothing."""


class Deletion(Struct, frozen=True):
    """One request to delete. `state`: "open" until all projections passed `ends`, then "erased", then "done".

    `subjects` are named only until it is done; `hash` is what stays. `erased`: rows and held deliveries removed."""

    id: str
    hash: str
    time: float
    authority: str
    state: str
    asked: float
    finished: float | None
    erased: int
    ends: dict[Partition, int] | None
    subjects: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Deletions:
    """All requests to delete."""

    def __init__(self, db: Database, people: People, linking: Linking) -> None:
        self._db = db
        self._people = people
        self._linking = linking

    async def ask(self, tx: Transaction, forgets: Mapping[str, tuple[str, float, str]], now: float) -> set[str]:
        """Sets the tombstones of requests (id → subject, time, authority) that are not there yet. Who is marked."""
        marked: set[str] = set()
        for number, (subject, time, authority) in forgets.items():
            hashed = self._people.hash(subject)
            fresh = await tx.run(
                "INSERT INTO deletions (id, hash, time, authority, state, asked) VALUES (?, ?, ?, ?, 'open', ?)"
                " ON CONFLICT (id) DO NOTHING",
                *(number, hashed, time, authority, now),
            )
            if fresh == 1:
                marked |= await self._linking.bury(tx, {hashed: subject}, time, [number])
        return marked

    async def add_addresses(self, tx: Transaction, addresses: Collection[tuple[str, str]]) -> None:
        """Adds addresses of deleted subjects to their open requests."""
        await tx.many(
            "INSERT INTO deletion_addresses (id, address) SELECT deletions.id, ? FROM deletions"
            " JOIN deletion_subjects ON deletion_subjects.id = deletions.id"
            " WHERE deletions.state <> 'done' AND deletion_subjects.hash = ? ON CONFLICT DO NOTHING",
            [(address, self._people.hash(subject)) for subject, address in addresses],
        )

    async def every(self, *states: str) -> Sequence[Deletion]:
        """Requests in the given states, or all of them; oldest first."""
        async with self._db.read() as tx:
            found = await tx.all(
                "SELECT id, hash, time, authority, state, asked, finished, erased, ends FROM deletions"
                f" WHERE {self._db.among('state')} ORDER BY asked, id",
                self._db.listed(states or ("open", "erased", "done")),
            )
            subjects = await tx.all("SELECT id, subject FROM deletion_subjects WHERE subject IS NOT NULL")
            addresses = await tx.all("SELECT id, address FROM deletion_addresses")
        named = _grouped(subjects)
        known = _grouped(addresses)
        return [_deletion(row, named.get(row[0], ()), known.get(row[0], ())) for row in found]

    async def about(self, subjects: Collection[str]) -> Sequence[Deletion]:
        """Requests that any of these subjects was part of, in whatever state; oldest first."""
        async with self._db.read() as tx:
            found = await tx.all(
                f"SELECT DISTINCT id FROM deletion_subjects WHERE {self._db.among('hash')}",
                self._db.listed([self._people.hash(subject) for subject in subjects]),
            )
        numbers = {number for (number,) in found}
        return [deletion for deletion in await self.every() if deletion.id in numbers] if numbers else []

    async def note_ends(self, number: str, ends: Mapping[Partition, int]) -> None:
        """Keeps which positions every projection must pass before this person's rows are erased."""
        listed = [(p.topic, p.number, end) for p, end in sorted(ends.items())]
        async with self._db.write() as tx:
            await tx.run(
                "UPDATE deletions SET ends = ? WHERE id = ? AND state = 'open' AND ends IS NULL",
                msgspec.json.encode(listed).decode(),
                number,
            )

    async def erased(self, tx: Transaction, number: str, amount: int) -> None:
        """Notes, in the transaction of the erasure, how much it removed. A request that was opened again meanwhile
        stays open: more is to be read before it."""
        await tx.run(
            "UPDATE deletions SET state = CASE WHEN ends IS NULL THEN 'open' ELSE 'erased' END, erased = erased + ?"
            " WHERE id = ?",
            amount,
            number,
        )
        await tx.run(
            "UPDATE tombstones SET erased = time WHERE hash IN (SELECT hash FROM deletion_subjects WHERE id = ?)",
            number,
        )

    async def finish(self, number: str, now: float) -> bool:
        """Closes an erased request: whoever it named is named no more. False: it was opened again meanwhile."""
        async with self._db.write() as tx:
            closed = await tx.run(
                "UPDATE deletions SET state = 'done', finished = ? WHERE id = ? AND state = 'erased'", now, number
            )
            if closed:
                await tx.run("UPDATE deletion_subjects SET subject = NULL WHERE id = ?", number)
                await tx.run("DELETE FROM deletion_addresses WHERE id = ?", number)
        return closed == 1


def _ends(text: str | None) -> dict[Partition, int] | None:
    if text is None:
        return None
    return {Partition(topic, number): end for topic, number, end in msgspec.json.decode(text)}


def _deletion(row: Row, subjects: tuple[str, ...], addresses: tuple[str, ...]) -> Deletion:
    number, hashed, time, authority, state, asked, finished, erased, ends = row
    return Deletion(
        id=number,
        hash=hashed,
        time=time,
        authority=authority,
        state=state,
        asked=asked,
        finished=finished,
        erased=erased,
        ends=_ends(ends),
        subjects=subjects,
        addresses=addresses,
    )


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for number, value in sorted(pairs):
        grouped[number] = (*grouped.get(number, ()), value)
    return grouped
