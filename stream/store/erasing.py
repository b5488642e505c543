"""Erasing: what a deletion removes, in one transaction."""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from stream.facts import Profile
from stream.store.database import Database, Row, Transaction
from stream.store.deletions import Prune
from stream.store.held import RELEASE
from stream.store.identifiers import Identifiers
from stream.store.linking import Linking
from stream.store.people import People


class Grave(Struct, frozen=True):
    """The named subjects of one deletion, and before which time each is forgotten."""

    tombstones: dict[str, float]

    @property
    def subjects(self) -> list[str]:
        return sorted(self.tombstones)


class Erasing:
    """Removes rows, identifiers, links and held deliveries that are not younger than a tombstone. What destinations
    were told stays, until they have deleted it."""

    def __init__(
        self, db: Database, people: People, linking: Linking, identifiers: Identifiers, versions: Iterator[int]
    ) -> None:
        self._db = db
        self._people = people
        self._linking = linking
        self._identifiers = identifiers
        self._versions = versions

    async def is_due(self, tx: Transaction, number: str) -> bool:
        """Is this deletion still to be erased? Another process may have done it, and the person may have returned."""
        return bool(await tx.all("SELECT 1 FROM deletions WHERE id = ? AND state = 'open'", number))

    async def grave(self, tx: Transaction, number: str) -> Grave:
        """Whom a deletion is about, as far as they can be named."""
        found = await tx.all(
            "SELECT deletion_subjects.hash, coalesce(deletion_subjects.subject, tombstones.subject)"
            " FROM deletion_subjects JOIN tombstones ON tombstones.hash = deletion_subjects.hash"
            " WHERE deletion_subjects.id = ?",
            number,
        )
        times = await self._people.buried(tx, [h for h, _ in found])
        return Grave({subject: times[h] for h, subject in found if subject})

    async def rows(self, tx: Transaction, grave: Grave, tables: list[str]) -> list[Row]:
        """Table, subject, version, value of every row about them, in every generation."""
        return await tx.all(
            f"SELECT tbl, subject, version, value FROM rows WHERE {self._db.among('tbl')}"
            f" AND {self._db.among('subject')}",
            self._db.listed(tables),
            self._db.listed(grave.subjects),
        )

    async def erase(self, tx: Transaction, grave: Grave, rows: list[Row], prune: Prune) -> int:
        """Prunes the rows, and removes identifiers, links and held deliveries; the number of rows and deliveries
        touched."""
        pruned = [(tbl, subject, prune(tbl, value, grave.tombstones[subject])) for tbl, subject, _, value in rows]
        await tx.many(
            "UPDATE rows SET version = ?, value = ? WHERE tbl = ? AND subject = ?",
            [(next(self._versions), left, tbl, s) for tbl, s, left in pruned if left is not None],
        )
        await tx.many(
            "DELETE FROM rows WHERE tbl = ? AND subject = ?", [(tbl, s) for tbl, s, left in pruned if left is None]
        )
        for one in grave.subjects:
            kept = identifiers((tbl, left) for tbl, subject, left in pruned if subject == one and left is not None)
            await self._identifiers.forget(tx, one, kept)
        remaining = {subject for _, subject, left in pruned if left is not None}
        await tx.many(
            "UPDATE tombstones SET subject = ? WHERE hash = ?",
            [(s if s in remaining else None, self._people.hash(s)) for s in grave.subjects],
        )
        await self._links(tx, grave)
        return len(rows) + await self._held(tx, grave)

    async def _links(self, tx: Transaction, grave: Grave) -> None:
        listed = self._db.listed(grave.subjects)
        found = await tx.all(
            f"SELECT subject, other, first, last FROM links WHERE {self._db.among('subject')}"
            f" OR {self._db.among('other')}",
            listed,
            listed,
        )
        pairs = {(subject, other): (first, last) for subject, other, first, last in found}
        graves = await self._people.tombstones(tx, {subject for pair in pairs for subject in pair})
        await self._linking.keep(tx, pairs, graves)
        for column in ("subject", "other"):
            await tx.many(f"DELETE FROM refused WHERE {column} = ? AND last <= ?", list(grave.tombstones.items()))

    async def _held(self, tx: Transaction, grave: Grave) -> int:
        found = await tx.all(
            f"SELECT DISTINCT processor, lane FROM held WHERE {self._db.among('subject')}",
            self._db.listed(grave.subjects),
        )
        await tx.many(
            "INSERT INTO tallies (processor, topic, part, fate, amount)"
            " SELECT processor, topic, part, 'left:erased', count(*) FROM held WHERE subject = ? AND time <= ?"
            " GROUP BY processor, topic, part"
            " ON CONFLICT (processor, topic, part, fate) DO UPDATE SET amount = tallies.amount + excluded.amount",
            list(grave.tombstones.items()),
        )
        older = "WHERE held.subject = ? AND held.time <= ?"
        await tx.many(f"{RELEASE} {older} ON CONFLICT DO NOTHING", list(grave.tombstones.items()))
        erased = await tx.many("DELETE FROM held WHERE subject = ? AND time <= ?", list(grave.tombstones.items()))
        await tx.many(
            "DELETE FROM lanes WHERE processor = ? AND lane = ? AND NOT EXISTS (SELECT 1 FROM held"
            " WHERE held.processor = lanes.processor AND held.lane = lanes.lane AND held.state = 'waiting')",
            found,
        )
        return erased


def identifiers(rows: Iterable[tuple[str, str]]) -> set[str]:
    """All that somebody is known by in these rows (table, value), of every generation."""
    profiles = (_PROFILE.decode(value) for table, value in rows if table.partition("@")[0] == "profiles")
    return {identifier for profile in profiles for identifier in profile.identifiers}


_PROFILE = msgspec.json.Decoder(Profile)
