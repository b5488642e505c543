"""Snapshot: some people, as they are at one moment."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from stream import facts
from stream.core.sheet import Key, Loaded, without
from stream.person import Person, assemble
from stream.store import Store
from stream.store.database import Transaction
from stream.store.graph import Component


class View(Struct, frozen=True):
    """All that was read of one person. Two views are equal if nothing of it changed in between."""

    component: Component
    tombstones: dict[str, float]
    versions: dict[Key, int | None]


class Snapshot:
    """What one read transaction saw of some subjects' people. `components`: of every subject of theirs."""

    def __init__(
        self, components: Mapping[str, Component], rows: Mapping[Key, Loaded], tombstones: Mapping[str, float]
    ) -> None:
        self.components = {subject: one for one in components.values() for subject in one.subjects}
        self._rows = rows
        self._tombstones = tombstones
        self._by_key = {component.key: component for component in components.values()}

    def of(self, subject: str) -> View:
        """What was read of this subject's person."""
        component = self.components[subject]
        return View(
            component,
            {s: self._tombstones[s] for s in component.subjects if s in self._tombstones},
            {(t, s): row.version for t in facts.TABLES for s in component.subjects if (row := self._rows.get((t, s)))},
        )

    def person(self, key: str) -> Person | None:
        """The person with this key; None if nothing is known of them, or nothing is left."""
        component = self._by_key[key]
        rows = {
            table: {s: _DECODERS[table].decode(row.value) for s in component.subjects if (row := self._row(table, s))}
            for table in facts.TABLES
        }
        if not any(self._left(row, s) for by_subject in rows.values() for s, row in by_subject.items()):
            return None
        return assemble(component.subjects, rows, component.links, self._tombstones)

    def rows(self, key: str) -> dict[str, dict[str, Any]]:
        """Every row of the person with this key, by table and subject, of all tables that were read; as JSON values."""
        found: dict[str, dict[str, Any]] = {}
        for (table, subject), row in sorted(self._rows.items()):
            if subject in self._by_key[key].subjects and row.value is not None:
                found.setdefault(table, {})[subject] = msgspec.json.decode(row.value)
        return found

    def _row(self, table: str, subject: str) -> Any | None:
        row = self._rows.get((table, subject))
        return None if row is None or row.value is None else row

    def _left(self, row: Any, subject: str) -> bool:
        time = self._tombstones.get(subject)
        return time is None or without(row, time) is not None


async def read(store: Store, subjects: Collection[str], tables: Collection[str] = tuple(facts.TABLES)) -> Snapshot:
    """The people of these subjects, with their rows in these tables (none: only who they are)."""
    return await store.db.reading(lambda tx: read_in(tx, store, subjects, tables))


async def read_in(tx: Transaction, store: Store, subjects: Collection[str], tables: Collection[str]) -> Snapshot:
    """The same, as a transaction sees them."""
    components, tombstones = await store.people.known(tx, subjects)
    every = {subject for component in components.values() for subject in component.subjects}
    rows = await store.about(tx, every, list(tables)) if tables else {}
    return Snapshot(components, rows, tombstones)


_DECODERS = {table: msgspec.json.Decoder(kind) for table, kind in facts.TABLES.items()}
