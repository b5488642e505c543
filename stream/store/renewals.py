"""Renewals: a value that was said again changes nothing, except where a linked subject says otherwise.

Two subjects of one person may differ; the later statement counts (or leaves a conflict). So when one of them repeats
what it had said, the person may become another, though no row holds another value than before: an opt-out, perhaps.
"""

from collections.abc import Collection, Mapping

import msgspec

from stream import facts
from stream.core.sheet import Key
from stream.store.database import Database, Transaction
from stream.store.graph import Component
from stream.store.people import People

Renewed = tuple[str, str, str]
"""Table, subject, facet."""


class Renewals:
    """Finds the renewals that others must hear of, in transactions of others."""

    def __init__(self, db: Database, people: People) -> None:
        self._db = db
        self._people = people
        self._decoders = {table: msgspec.json.Decoder(kind) for table, kind in facts.TABLES.items()}

    async def decisive(
        self, tx: Transaction, renewed: Collection[Renewed], puts: Mapping[Key, str | None]
    ) -> list[tuple[str, str]]:
        """Subject and facet of those where a subject of the same person differs."""
        asked = [one for one in renewed if one[0] in self._decoders]
        linked = await self._linked(tx, {subject for _, subject, _ in asked}) if asked else set()
        if not linked:
            return []
        components = await self._people.components(tx, linked)
        rows = await self._rows(tx, {s for component in components.values() for s in component.subjects})
        return [
            (subject, facet)
            for table, subject, facet in asked
            if subject in linked and self._differ(table, subject, components[subject], {**rows, **puts})
        ]

    async def _linked(self, tx: Transaction, subjects: Collection[str]) -> set[str]:
        # A user that is shared by a million is looked up, not walked through.
        found = await tx.all(
            f"SELECT asked.value FROM {self._db.each('asked')}"
            " WHERE EXISTS (SELECT 1 FROM links WHERE subject = asked.value)"
            " OR EXISTS (SELECT 1 FROM links WHERE other = asked.value)",
            self._db.listed(subjects),
        )
        return {subject for (subject,) in found}

    async def _rows(self, tx: Transaction, subjects: Collection[str]) -> dict[Key, str | None]:
        found = await tx.all(
            f"SELECT tbl, subject, value FROM rows WHERE {self._db.among('tbl')} AND {self._db.among('subject')}",
            self._db.listed(self._decoders),
            self._db.listed(subjects),
        )
        return {(table, subject): value for table, subject, value in found}

    def _differ(self, table: str, subject: str, component: Component, rows: Mapping[Key, str | None]) -> bool:
        decode = self._decoders[table].decode
        texts = {other: rows.get((table, other)) for other in component.subjects}
        own = texts.pop(subject)
        return own is not None and any(facts.differ(decode(own), decode(text)) for text in texts.values() if text)
