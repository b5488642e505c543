"""Receipts: which addresses destinations must still delete for a request, and what each of them answered.

An *open* address is named until its destination has settled it. What stays is its receipt, which names it by hash.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from stream.store.database import Database, Transaction
from stream.store.people import People

At = tuple[str, str]
"""Destination, address."""

UNSUPPORTED = "unsupported"
"""The outcome where a destination was told of somebody and has no way to delete anybody."""


class Receipt(Struct, frozen=True):
    """What a destination answered about one address, and when."""

    destination: str
    hash: str
    outcome: str
    time: float


class Receipts:
    """Open addresses and receipts of all requests, in transactions of others."""

    def __init__(self, db: Database, people: People) -> None:
        self._db = db
        self._people = people

    async def open(self, tx: Transaction, number: str, at: Iterable[At]) -> int:
        """Asks that these be deleted for a request; how many were not asked already."""
        return await tx.many(
            "INSERT INTO deletion_addresses (id, destination, address) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(number, *pair) for pair in sorted(at)],
        )

    async def write(self, tx: Transaction, asked: Iterable[tuple[str, At]], outcome: str, now: float) -> None:
        """Keeps what became of these, each asked by a request; the newest outcome counts."""
        await tx.many(
            "INSERT INTO receipts (id, destination, hash, outcome, time) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (id, destination, hash) DO UPDATE SET outcome = excluded.outcome, time = excluded.time",
            [(number, where, self._people.hash(address), outcome, now) for number, (where, address) in sorted(asked)],
        )

    async def open_at(self, tx: Transaction, destination: str, subjects: Collection[str]) -> tuple[str, ...]:
        """The addresses that a destination must still delete because one of these subjects was deleted."""
        found = await tx.all(
            "SELECT DISTINCT address FROM deletion_subjects JOIN deletion_addresses"
            " ON deletion_addresses.id = deletion_subjects.id AND destination = ?"
            f" WHERE {self._db.among('deletion_subjects.hash')} ORDER BY address",
            destination,
            self._db.listed(self._people.hash(subject) for subject in subjects),
        )
        return tuple(address for (address,) in found)

    async def settle(
        self, tx: Transaction, destination: str, addresses: Collection[str], outcome: str, now: float
    ) -> set[str]:
        """These are open no more, for whichever requests they were; those requests."""
        await tx.alone()
        where = f"destination = ? AND {self._db.among('address')}"
        listed = self._db.listed(addresses)
        found = await tx.all(f"SELECT id, address FROM deletion_addresses WHERE {where}", destination, listed)
        await self.write(tx, [(number, (destination, address)) for number, address in found], outcome, now)
        await tx.run(f"DELETE FROM deletion_addresses WHERE {where}", destination, listed)
        return {number for number, _ in found}

    async def close(self, tx: Transaction, number: str, now: float) -> None:
        """What is still open for a request will not be deleted: nobody there can."""
        left = await tx.all("SELECT destination, address FROM deletion_addresses WHERE id = ?", number)
        await self.write(tx, [(number, (where, address)) for where, address in left], UNSUPPORTED, now)
        await tx.run("DELETE FROM deletion_addresses WHERE id = ?", number)

    async def outstanding(self, tx: Transaction, numbers: Collection[str]) -> Mapping[str, dict[str, tuple[str, ...]]]:
        """Of each request what is open: destination → addresses."""
        found = await tx.all(
            "SELECT id, destination, address FROM deletion_addresses"
            f" WHERE {self._db.among('id')} ORDER BY id, destination, address",
            self._db.listed(numbers),
        )
        every: dict[str, dict[str, tuple[str, ...]]] = {}
        for number, destination, address in found:
            of = every.setdefault(number, {})
            of[destination] = (*of.get(destination, ()), address)
        return every

    async def answered(self, tx: Transaction, numbers: Collection[str]) -> Mapping[str, tuple[Receipt, ...]]:
        """Of each request the receipts, oldest first."""
        found = await tx.all(
            "SELECT id, destination, hash, outcome, time FROM receipts"
            f" WHERE {self._db.among('id')} ORDER BY time, destination, hash",
            self._db.listed(numbers),
        )
        every: dict[str, tuple[Receipt, ...]] = {}
        for number, *receipt in found:
            every[number] = (*every.get(number, ()), Receipt(*receipt))
        return every
