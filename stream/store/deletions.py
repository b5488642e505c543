"""Deletions: requests to forget a person, from the tombstone to the receipts of all destinations.

A request is *open* until all projections have passed the ends of the log as they were; then its rows are erased, and
it is *erased* until every destination that can delete has deleted what it may know of the person; then it is *done*.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from stream.core import identity
from stream.message import Partition
from stream.store.confirmed import Confirmed
from stream.store.database import Database, Transaction
from stream.store.deletion import Deletion, those
from stream.store.identifiers import Identifiers
from stream.store.linking import Linking
from stream.store.people import People
from stream.store.receipts import UNSUPPORTED, At, Receipts

__all__ = ["UNSUPPORTED", "Deletion", "Deletions", "Prune", "Unfinished"]

Prune = Callable[[str, str, float], str | None]
"""Table, encoded row, time → what is left of the row when everything up to that time is forgotten; None: nothing."""

_PIECE = 17  # a hash's letter, and 64 of its bits


class Unfinished(Struct, frozen=True):
    """All that is not done: how many requests; those to erase; those that only have to be closed; and those asked long
    ago, with the destinations that have not deleted yet."""

    amount: int
    open: Sequence[Deletion]
    finishable: Sequence[str]
    overdue: Mapping[str, Sequence[str]]


class Deletions:
    """All requests to delete. `destinations`: all that are configured, with the kinds of addresses that they know
    people by; `deletable`: those of them where somebody deletes. The app sets both."""

    def __init__(
        self, db: Database, people: People, linking: Linking, identifiers: Identifiers, confirmed: Confirmed
    ) -> None:
        self.destinations: Mapping[str, tuple[str, ...]] = {}
        self.deletable: Collection[str] = frozenset()
        self._db = db
        self._people = people
        self._linking = linking
        self._identifiers = identifiers
        self._confirmed = confirmed
        self._receipts = Receipts(db, people)

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

    async def collect(
        self, tx: Transaction, number: str, subjects: Collection[str], named: Collection[str], now: float
    ) -> None:
        """Notes where these subjects are known, before their rows are erased: all addresses that a destination was told
        of on their behalf, and those that facts name (`named`, the index, their own ids) at destinations of a fitting
        kind."""
        known = {*named, *map(_address, subjects)}.union(*(await self._identifiers.of(tx, subjects)).values())
        told = await self._confirmed.anywhere(tx, subjects, known, self.destinations)
        await self._open(tx, number, known, {(one.destination, one.address) for one in told}, now)

    async def add_addresses(self, tx: Transaction, addresses: Collection[tuple[str, str]], now: float) -> set[str]:
        """Adds addresses of deleted subjects to their unfinished requests; those for whom there is more to delete."""
        if not addresses:
            return set()
        known: dict[str, set[str]] = {}
        for subject, address in addresses:
            known.setdefault(self._people.hash(subject), set()).add(address)
        every = await self._confirmed.anywhere(tx, (), _all(known), self.destinations)
        told = {(one.destination, one.address) for one in every}
        found = await tx.all(
            "SELECT deletions.id, deletion_subjects.hash FROM deletion_subjects"
            " JOIN deletions ON deletions.id = deletion_subjects.id"
            f" WHERE deletions.state <> 'done' AND {self._db.among('deletion_subjects.hash')}",
            self._db.listed(known),
        )
        more = set()
        for number, of in found:
            if await self._open(tx, number, known[of], {at for at in told if at[1] in known[of]}, now):
                more.add(of)
        return {subject for subject, _ in addresses if self._people.hash(subject) in more}

    async def open_at(self, tx: Transaction, destination: str, subjects: Collection[str]) -> tuple[str, ...]:
        """The addresses that a destination must still delete because one of these subjects was deleted."""
        return await self._receipts.open_at(tx, destination, subjects)

    async def waiting_at(self, tx: Transaction, destination: str, after: str = "", limit: int = 1_000) -> list[str]:
        """The subjects of requests that a destination has still to settle, in order: they may have no rows any more."""
        found = await tx.all(
            "SELECT DISTINCT deletion_subjects.subject FROM deletion_addresses"
            " JOIN deletion_subjects ON deletion_subjects.id = deletion_addresses.id"
            " WHERE deletion_addresses.destination = ? AND deletion_subjects.subject > ?"
            " ORDER BY deletion_subjects.subject LIMIT ?",
            destination,
            after,
            limit,
        )
        return [subject for (subject,) in found]

    async def asked(self, tx: Transaction, destination: str, addresses: Collection[str]) -> float:
        """When a destination was last asked to delete one of these addresses, of those that are open."""
        found = await tx.all(
            "SELECT max(deletions.asked) FROM deletion_addresses JOIN deletions ON deletions.id = deletion_addresses.id"
            f" WHERE deletion_addresses.destination = ? AND {self._db.among('deletion_addresses.address')}",
            destination,
            self._db.listed(addresses),
        )
        return float(found[0][0] or 0.0)

    async def settled(
        self, tx: Transaction, destination: str, addresses: Collection[str], outcome: str, now: float
    ) -> set[str]:
        """The destination holds nothing of these addresses any more, and what it was told of them is forgotten; or it
        cannot delete (UNSUPPORTED). Whom to mark, beside those who share an address: who returned is to be told
        anew."""
        numbers = await self._receipts.settle(tx, destination, addresses, outcome, now)
        found = await tx.all(
            f"SELECT subject FROM deletion_subjects WHERE subject IS NOT NULL AND {self._db.among('id')}",
            self._db.listed(numbers),
        )
        subjects = {subject for (subject,) in found}
        if outcome != UNSUPPORTED:
            subjects |= await self._confirmed.deleted(tx, destination, addresses)
        return subjects

    async def unfinished(self, asked_before: float) -> Unfinished:
        """What is not done, and what of it was asked before that time."""
        return await self._db.reading(lambda tx: self._unfinished(tx, asked_before))

    async def every(self, *states: str) -> Sequence[Deletion]:
        """Requests in the given states, or all of them; oldest first."""
        return await self._db.reading(lambda tx: self._those(tx, "state", states or ("open", "erased", "done")))

    async def about(self, subjects: Collection[str]) -> Sequence[Deletion]:
        """Requests that any of these subjects was part of, in whatever state; oldest first."""

        async def read(tx: Transaction) -> list[Deletion]:
            found = await tx.all(
                f"SELECT DISTINCT id FROM deletion_subjects WHERE {self._db.among('hash')}",
                self._db.listed([self._people.hash(subject) for subject in subjects]),
            )
            return await self._those(tx, "id", [number for (number,) in found])

        return await self._db.reading(read)

    async def note_ends(self, number: str, ends: Mapping[Partition, int]) -> None:
        """Keeps which positions every projection must pass before this person's rows are erased."""
        listed = [(p.topic, p.number, end) for p, end in sorted(ends.items())]
        await self._db.writing(
            lambda tx: tx.run(
                "UPDATE deletions SET ends = ? WHERE id = ? AND state = 'open' AND ends IS NULL",
                msgspec.json.encode(listed).decode(),
                number,
            )
        )

    async def erased(self, tx: Transaction, number: str, amount: int) -> None:
        """Notes, in the transaction of the erasure, how much it removed. A request that was opened again meanwhile
        stays open: more is to be read before it."""
        await tx.run(
            "UPDATE deletions SET state = CASE WHEN ends IS NULL THEN 'open' ELSE 'erased' END, erased = erased + ?"
            " WHERE id = ?",
            *(amount, number),
        )
        buried = "SELECT hash FROM deletion_subjects WHERE id = ?"
        await tx.run(f"UPDATE tombstones SET erased = time WHERE hash IN ({buried})", number)

    async def finish(self, number: str, now: float) -> bool:
        """Closes an erased request: whoever it named is named no more. False: a destination has still to delete, or it
        was opened again meanwhile."""

        async def write(tx: Transaction) -> bool:
            closed = await tx.run(
                f"UPDATE deletions SET state = 'done', finished = ? WHERE id = ? AND {self._finishable}",
                *(now, number, self._db.listed(self.deletable)),
            )
            if closed:
                await tx.run("UPDATE deletion_subjects SET subject = NULL WHERE id = ?", number)
                await self._receipts.close(tx, number, now)
            return closed == 1

        return await self._db.writing(write)

    @property
    def _finishable(self) -> str:
        return (
            "state = 'erased' AND NOT EXISTS (SELECT 1 FROM deletion_addresses WHERE deletion_addresses.id ="
            f" deletions.id AND {self._db.among('deletion_addresses.destination')})"
        )

    async def _unfinished(self, tx: Transaction, asked_before: float) -> Unfinished:
        amount = (await tx.all("SELECT count(*) FROM deletions WHERE state IN ('open', 'erased')"))[0][0]
        if not amount:  # the eraser's usual answer, twice a second
            return Unfinished(0, (), (), {})
        query = f"SELECT id FROM deletions WHERE {self._finishable} ORDER BY asked, id"
        finishable = [number for (number,) in await tx.all(query, self._db.listed(self.deletable))]
        query = "SELECT id FROM deletions WHERE state IN ('open', 'erased') AND asked <= ? ORDER BY asked, id"
        overdue = [number for (number,) in await tx.all(query, asked_before)]
        outstanding = await self._receipts.outstanding(tx, overdue) if overdue else {}
        waiting = {number: tuple(outstanding.get(number, ())) for number in overdue}
        return Unfinished(amount, await self._those(tx, "state", ["open"]), finishable, waiting)

    async def _open(
        self, tx: Transaction, number: str, known: Collection[str], told: Collection[At], now: float
    ) -> int:
        at = set(told)
        for destination in self.deletable:
            kinds = self.destinations.get(destination, ())
            at |= {(destination, address) for address in known if address.partition(":")[0] in kinds}
        here = {pair for pair in at if pair[0] in self.deletable}
        await self._receipts.write(tx, [(number, pair) for pair in at - here], UNSUPPORTED, now)
        return await self._receipts.open(tx, number, here)

    async def _those(self, tx: Transaction, column: str, values: Iterable[str]) -> list[Deletion]:
        return await those(tx, self._db, self._receipts, column, values)


def _address(subject: str) -> str:
    """What a destination that knows people by our own ids calls this subject."""
    kind = identity.kind(subject)
    return f"{'anonymous' if kind == 'anon' else kind}_id:{identity.identifier(subject)}"


def _all(grouped: Mapping[str, Collection[str]]) -> set[str]:
    return set().union(*grouped.values())
