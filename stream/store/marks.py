"""Marks: who must be published, and what was."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from stream.store.database import Database, Transaction


class Mark(NamedTuple):
    """This subject's person must be published because of this facet."""

    subject: str
    facet: str
    revision: int


class Marks:
    """The marks of all processors. A newer mark replaces an older one of the same subject and facet."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def lock(self, tx: Transaction) -> None:
        """Whoever marks waits from here on until the transaction ends, and what was committed before is seen. So it can
        be decided by what others wrote that nobody need be marked: either they are seen, or their mark comes later."""
        await tx.all(f"SELECT value FROM counters WHERE name = 'revision'{self._db.locking}")

    async def add(self, tx: Transaction, processor: str, wanted: Collection[tuple[str, str]]) -> list[Mark]:
        """Marks (subject, facet) in the transaction of what changed; each mark gets a revision of its own."""
        if not wanted:
            return []
        every = list(dict.fromkeys(wanted))
        counted = "UPDATE counters SET value = value + ? WHERE name = 'revision' RETURNING value"
        ((last,),) = await tx.all(counted, len(every))
        marks = [Mark(*pair, last - len(every) + n) for n, pair in enumerate(every, 1)]
        await tx.many(
            "INSERT INTO marks (processor, subject, facet, revision) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (processor, subject, facet) DO UPDATE SET revision = excluded.revision",
            [(processor, *mark) for mark in sorted(marks)],
        )
        return marks

    async def open(self, processor: str, limit: int = 5_000) -> list[Mark]:
        """What a processor has still to publish, oldest first."""
        found = await self._db.reading(
            lambda tx: tx.all(
                "SELECT subject, facet, revision FROM marks WHERE processor = ? ORDER BY revision LIMIT ?",
                processor,
                limit,
            )
        )
        return [Mark(*row) for row in found]

    async def clear(
        self, tx: Transaction, processor: str, marks: Sequence[Mark], published: dict[str, int], nulled: Collection[str]
    ) -> None:
        """Clears exactly these marks, and notes which keys of person.profile now hold a value and which a null."""
        await tx.many(
            "DELETE FROM marks WHERE processor = ? AND subject = ? AND facet = ? AND revision = ?",
            [(processor, *mark) for mark in sorted(set(marks))],
        )
        await tx.many(
            "INSERT INTO published (key, revision) VALUES (?, ?) ON CONFLICT (key)"
            " DO UPDATE SET revision = excluded.revision",
            sorted(published.items()),
        )
        await tx.many("DELETE FROM published WHERE key = ?", [(key,) for key in sorted(nulled)])

    async def has_value(self, tx: Transaction, keys: Collection[str]) -> set[str]:
        """Those of the keys that person.profile holds a value for."""
        found = await tx.all(f"SELECT key FROM published WHERE {self._db.among('key')}", self._db.listed(keys))
        return {key for (key,) in found}
