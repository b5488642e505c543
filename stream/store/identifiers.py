"""Identifiers: who is known by which address, so that all who share one are found.

A subject's identifiers are those in its profile, written in the transaction of that row.
"""

from collections.abc import Collection, Mapping

from stream.store.database import Database, Transaction

MOST = 1_000
"""More subjects than these do not share an address: it is a default that somebody fills in."""


class Identifiers:
    """Identifiers and their subjects, both ways, in transactions of others."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, tx: Transaction, known: Mapping[str, Collection[str]]) -> None:
        """From now on each of the subjects is known by these identifiers, and by no others."""
        await tx.many(
            "INSERT INTO identifiers (identifier, subject) VALUES (?, ?) ON CONFLICT DO NOTHING",
            sorted((identifier, subject) for subject, identifiers in known.items() for identifier in identifiers),
        )
        await self._keep(tx, known)

    async def subjects(self, tx: Transaction, identifiers: Collection[str]) -> dict[str, set[str]]:
        """The subjects known by each identifier; of more than MOST only MOST + 1."""
        found = await tx.all(
            f"SELECT asked.value, identifiers.subject FROM {self._db.each('asked')}"
            " JOIN identifiers ON identifiers.identifier = asked.value AND identifiers.subject IN"
            " (SELECT subject FROM identifiers WHERE identifier = asked.value ORDER BY subject LIMIT ?)",
            self._db.listed(identifiers),
            MOST + 1,
        )
        subjects: dict[str, set[str]] = {identifier: set() for identifier in identifiers}
        for identifier, subject in found:
            subjects[identifier].add(subject)
        return subjects

    async def of(self, tx: Transaction, subjects: Collection[str]) -> dict[str, set[str]]:
        """The identifiers of each subject."""
        found = await tx.all(
            f"SELECT subject, identifier FROM identifiers WHERE {self._db.among('subject')}", self._db.listed(subjects)
        )
        identifiers: dict[str, set[str]] = {subject: set() for subject in subjects}
        for subject, identifier in found:
            identifiers[subject].add(identifier)
        return identifiers

    async def forget(self, tx: Transaction, subject: str, kept: Collection[str] = ()) -> None:
        """The subject is known by nothing but what is kept."""
        await self._keep(tx, {subject: kept})

    async def _keep(self, tx: Transaction, known: Mapping[str, Collection[str]]) -> None:
        had = await self.of(tx, known)
        over = sorted((one, subject) for subject, kept in known.items() for one in had[subject].difference(kept))
        if over:
            await tx.many("DELETE FROM identifiers WHERE identifier = ? AND subject = ?", over)
