"""Obstacles: what stands in the way of giving somebody something, whatever they allow."""

from collections.abc import Collection

from stream.store.database import Database, Transaction
from stream.store.people import People

ANYWHERE = ""
"""Stands for every destination."""


class Obstacles:
    """Read in transactions of others."""

    def __init__(self, db: Database, people: People) -> None:
        self._db = db
        self._people = people

    async def deleting(self, tx: Transaction, subjects: Collection[str]) -> dict[str, set[str]]:
        """Of those of the subjects whose deletion is not done: the destinations that have not deleted yet. ANYWHERE
        until it is known which those are."""
        hashes = {self._people.hash(subject): subject for subject in subjects}
        found = await tx.all(
            "SELECT DISTINCT deletion_subjects.hash, deletions.state, deletion_addresses.destination"
            " FROM deletion_subjects JOIN deletions ON deletions.id = deletion_subjects.id"
            " LEFT JOIN deletion_addresses ON deletion_addresses.id = deletions.id"
            f" WHERE deletions.state <> 'done' AND {self._db.among('deletion_subjects.hash')}",
            self._db.listed(hashes),
        )
        deleting: dict[str, set[str]] = {}
        for h, state, destination in found:
            if state == "open" or destination is not None:
                deleting.setdefault(hashes[h], set()).add(ANYWHERE if state == "open" else destination)
        return deleting

    async def deleting_at(
        self, tx: Transaction, destinations: Collection[str], addresses: Collection[str]
    ) -> set[tuple[str, str]]:
        """Those of the addresses, with the destination, that one of these destinations must still delete."""
        found = await tx.all(
            "SELECT DISTINCT destination, address FROM deletion_addresses"
            f" WHERE {self._db.among('destination')} AND {self._db.among('address')}",
            self._db.listed(destinations),
            self._db.listed(addresses),
        )
        return {(destination, address) for destination, address in found}

    async def held(self, tx: Transaction, subjects: Collection[str], processors: Collection[str]) -> set[str]:
        """Those of the subjects of whom one of these processors holds a delivery: it may say anything."""
        found = await tx.all(
            f"SELECT DISTINCT subject FROM held WHERE {self._db.among('subject')} AND {self._db.among('processor')}",
            self._db.listed(subjects),
            self._db.listed(processors),
        )
        return {subject for (subject,) in found}

    async def known(self, tx: Transaction, subjects: Collection[str], tables: Collection[str]) -> set[str]:
        """Those of the subjects that have a row in one of these tables."""
        found = await tx.all(
            f"SELECT DISTINCT subject FROM rows WHERE {self._db.among('tbl')} AND {self._db.among('subject')}",
            self._db.listed(tables),
            self._db.listed(subjects),
        )
        return {subject for (subject,) in found}
