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

_PIECE = 17  # a hash's letter, and 64 of its bits


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

    async def ask(self, tx: Transaction, forgets: Mapping[tuple[str, str], tuple[float, str]], now: float) -> set[str]:
        """Sets the tombstones of requests ((id, subject) → time, authority) that are not there yet. Who is marked.

        An id is a sender's messageId, and two deletes may carry the same one. The second person's request has an id of
        its own: with a piece of the person's hash."""
        marked: set[str] = set()
        for (asked, subject), (time, authority) in forgets.items():
            hashed = self._people.hash(subject)
            own = f"{asked}#{hashed[:_PIECE]}"
            found: dict[str, str] = dict(await tx.all("SELECT id, hash FROM deletions WHERE id IN (?, ?)", asked, own))
            if hashed in found.values():
                continue
            number = own if asked in found else asked
            await tx.run(
                "INSERT INTO deletions (id, hash, time, authority, state, asked) VALUES (?, ?, ?, ?, 'open', ?)",
                *(number, hashed, time, authority, now),
            )
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
            return await self._those(tx, "state", states or ("open", "erased", "done"))

    async def about(self, subjects: Collection[str]) -> Sequence[Deletion]:
        """Requests that any of these subjects was part of, in whatever state; oldest first."""
        async with self._db.read() as tx:
            found = await tx.all(
                f"SELECT DISTINCT id FROM deletion_subjects WHERE {self._db.among('hash')}",
                self._db.listed([self._people.hash(subject) for subject in subjects]),
            )
            return await self._those(tx, "id", [number for (number,) in found])

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

    async def _those(self, tx: Transaction, column: str, values: Iterable[str]) -> list[Deletion]:
        found = await tx.all(
            "SELECT id, hash, time, authority, state, asked, finished, erased, ends FROM deletions"
            f" WHERE {self._db.among(column)} ORDER BY asked, id",
            self._db.listed(values),
        )
        if not found:  # the eraser's usual answer, twice a second
            return []
        those, listed = self._db.among("id"), self._db.listed([row[0] for row in found])
        subjects = await tx.all(
            f"SELECT id, subject FROM deletion_subjects WHERE subject IS NOT NULL AND {those}", listed
        )
        addresses = await tx.all(f"SELECT id, address FROM deletion_addresses WHERE {those}", listed)
        named, known = _grouped(subjects), _grouped(addresses)
        return [_deletion(row, named.get(row[0], ()), known.get(row[0], ())) for row in found]


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
