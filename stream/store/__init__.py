"""Store: what is remembered.

The words: a *row* is one table's value for one subject, with a *version* that never repeats. A *position* is how far a
processor has dealt with a partition; a *claim* is the right to say so, and a newer claim ends all older ones. A *mark*
says that a person must be published, with a *revision* that never repeats. A *tombstone* is the time before which
nothing about a subject may be remembered. What a batch changes is one transaction with the position past it.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from msgspec import Struct, field

from stream.config import IdentityConfig
from stream.core.sheet import Changes, Key, Loaded
from stream.errors import Conflict
from stream.message import Partition
from stream.places import StoreConfig, file_of, is_postgres
from stream.store import migrations
from stream.store.confirmed import Confirmed
from stream.store.database import Database, Transaction
from stream.store.deletions import Deletions
from stream.store.duties import Duties
from stream.store.erasing import Erasing
from stream.store.held import Held, HeldTable
from stream.store.identifiers import Identifiers
from stream.store.lanes import HeldLanes
from stream.store.linking import Linking
from stream.store.marks import Mark, Marks
from stream.store.obstacles import Obstacles
from stream.store.people import People
from stream.store.positions import Passed, Positions
from stream.store.postgres_database import PostgresDatabase
from stream.store.renewals import Renewals
from stream.store.requests import Requests
from stream.store.sends import Sends
from stream.store.spilled import Spilled
from stream.store.sqlite import SqliteDatabase
from stream.store.statuses import Statuses
from stream.store.walks import Walks

__all__ = ["Held", "Mark", "Passed", "Rows", "Store", "Work"]


class Work(Struct, kw_only=True):
    """All that one batch of one processor changes. It is written whole or not at all."""

    processor: str
    claims: dict[Partition, int]
    positions: dict[Partition, int] = field(default_factory=dict)
    fates: dict[Partition, dict[str, int]] = field(default_factory=dict)
    loaded: dict[Key, Loaded] = field(default_factory=dict)
    puts: dict[Key, str | None] = field(default_factory=dict)
    tombstones: dict[str, float] = field(default_factory=dict)
    serial: int = 0
    changes: Changes = field(default_factory=Changes)
    held: list[Held] = field(default_factory=list)
    settled: int | None = None
    passed: Passed | None = None
    caught_up: bool = False  # set by commit(): all members have passed those ends
    now: float = 0.0

    @property
    def changes_nothing(self) -> bool:
        """Does it only say how far the processor is?"""
        return not self.puts and not self.held and self.settled is None and self.changes == Changes()


class Rows(Struct, frozen=True):
    """Rows as they were read, with the tombstones of their subjects and the serial as of which those are complete;
    `unerased`: whose rows may still hold what is older."""

    rows: dict[Key, Loaded]
    tombstones: dict[str, float]
    serial: int
    unerased: set[str]


class Store:
    """What is remembered, over a small database driver."""

    def __init__(self, db: Database, identity: IdentityConfig, key: bytes, epoch: int) -> None:
        self.db = db
        self.positions = Positions(db)
        self.held = HeldTable(db)
        self.lanes = HeldLanes(db)
        self.sends = Sends(db, key)
        self.marks = Marks(db)
        self.statuses = Statuses(db)
        self.duties = Duties(db)
        self.spilled = Spilled(db)
        self.requests = Requests(db)
        self.people = People(db, identity, key)
        self.identifiers = Identifiers(db)
        self.obstacles = Obstacles(db, self.people)
        self.confirmed = Confirmed(db)
        self.walks = Walks(db)
        self._renewals = Renewals(db, self.people)
        self._linking = Linking(db, self.people, identity.max_links)
        self.deletions = Deletions(db, self.people, self._linking, self.identifiers, self.confirmed)
        self._versions = itertools.count(epoch << 32)
        self.erasing = Erasing(db, self.people, self._linking, self.identifiers, self._versions)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, place: StoreConfig | str, identity: IdentityConfig, create: bool = True
    ) -> AsyncIterator["Store"]:
        """Opens the store of that section, or at that url. Makes it, or brings it up to date, if `create`. Raises
        SchemaMismatch for one of another version, StoreUnavailable where the server does not answer."""
        async with _opened(StoreConfig(url=place) if isinstance(place, str) else place) as db:
            key, epoch = await migrations.prepared(db, create)
            yield cls(db, identity, key, epoch)

    async def load(self, keys: Collection[Key]) -> Rows:
        """The rows of the keys, absent ones too."""
        return await self.db.reading(partial(self._load, keys))

    async def commit(self, work: Work) -> list[Mark]:
        """Writes a batch; the marks it left. Raises ClaimLost or Conflict, and then nothing was written."""
        asked = work.changes
        durable = bool(asked.marks or asked.renewed or asked.forgets or asked.links or work.held or work.settled)
        # Members write beside each other; who sets a tombstone, or depends on what a deletion asks for, is alone.
        beside = not asked.forgets and not asked.addresses
        marks = await self.db.writing(partial(self._commit, work), durable, beside)
        self.positions.written(work.processor, work.claims, work.positions)
        return marks

    async def drop(self, held: Held) -> list[Mark]:
        """Lets a held delivery go for good; the marks that it leaves."""

        async def write(tx: Transaction) -> list[Mark]:
            if not await self.held.remove(tx, held.id):
                return []
            await self.positions.advance(tx, held.processor, {}, {held.delivery.partition: {"left:dropped": 1}})
            return await self.marks.add(tx, held.processor, held.marks)

        return await self.db.writing(write)

    async def _load(self, keys: Collection[Key], tx: Transaction) -> Rows:
        # Tombstones before rows: one that comes between is younger than the serial, and commit() sees it.
        serial = await self.people.serial(tx)
        tombstones = await self.people.tombstones(tx, {subject for _, subject in keys}) if serial else {}
        unerased = await self.people.unerased(tx, tombstones) if tombstones else set()
        return Rows(await self._rows(tx, keys), tombstones, serial, unerased)

    async def _commit(self, work: Work, tx: Transaction) -> list[Mark]:
        asked = work.changes
        await self.positions.check(tx, work.processor, work.claims)
        if await self.people.buried_since(tx, work.serial, {subject for _, subject in work.loaded}):
            raise Conflict("a person was deleted meanwhile")
        await self._write_rows(tx, work)
        if asked.identified:
            await self.identifiers.add(tx, asked.identified)
        if work.held:
            await self.held.add(tx, work.held)
        if work.settled is not None and not await self.held.remove(tx, work.settled):
            raise Conflict("the held delivery has left meanwhile")
        await self.positions.advance(tx, work.processor, work.positions, work.fates)
        if work.passed is not None:
            work.caught_up = await self.positions.catch_up(tx, work.processor, work.passed, work.now)
        return await self._mark(tx, work)

    async def _mark(self, tx: Transaction, work: Work) -> list[Mark]:
        """What depends on the rows and links of others, and changes whom they must be published with. Last: only one at
        a time gets past here."""
        asked = work.changes
        if asked.links or asked.renewed:
            await self.marks.lock(tx)
        moved = await self._linking.add(tx, asked.links)
        deleted = await self.deletions.ask(tx, asked.forgets, work.now)
        deleted |= await self.deletions.add_addresses(tx, list(asked.addresses), work.now)
        wanted = [
            *asked.marks,
            *await self._renewals.decisive(tx, asked.renewed, work.puts),
            *((s, "identity") for s in sorted(moved)),
            *((s, "deletion") for s in sorted(deleted)),
        ]
        return await self.marks.add(tx, work.processor, wanted)

    async def tables(self) -> list[str]:
        """Every table that ever had a processor, in every generation."""
        query = "SELECT substr(key, 7) FROM meta WHERE key LIKE 'table:%'"
        return [name for (name,) in await self.db.reading(lambda tx: tx.all(query))]

    async def register(self, tables: Iterable[str]) -> None:
        """Notes that these tables exist, before their first row: an erasure goes through all of them."""
        rows = [(f"table:{table}",) for table in sorted(set(tables))]
        insert = "INSERT INTO meta (key, value) VALUES (?, '') ON CONFLICT DO NOTHING"
        await self.db.writing(lambda tx: tx.many(insert, rows))

    async def about(self, tx: Transaction, subjects: Collection[str], tables: Sequence[str]) -> dict[Key, Loaded]:
        """The rows of some subjects in some tables; absent ones are absent."""
        found = await tx.all(
            "SELECT tbl, subject, version, value FROM rows"
            f" WHERE {self.db.among('tbl')} AND {self.db.among('subject')}",
            self.db.listed(tables),
            self.db.listed(subjects),
        )
        return {(tbl, subject): Loaded(version, value) for tbl, subject, version, value in found}

    async def _rows(self, tx: Transaction, keys: Collection[Key]) -> dict[Key, Loaded]:
        rows: dict[Key, Loaded] = dict.fromkeys(keys, Loaded(None, None))
        by_table: dict[str, list[str]] = {}
        for table, subject in keys:
            by_table.setdefault(table, []).append(subject)
        for table, subjects in by_table.items():
            found = await tx.all(
                f"SELECT subject, version, value FROM rows WHERE tbl = ? AND {self.db.among('subject')}",
                table,
                self.db.listed(subjects),
            )
            for subject, version, value in found:
                rows[table, subject] = Loaded(version, value)
        return rows

    async def _write_rows(self, tx: Transaction, work: Work) -> None:
        updates, inserts, deletes = [], [], []
        for key, value in sorted(work.puts.items()):
            version = work.loaded[key].version
            if value is None:
                deletes += [] if version is None else [(*key, version)]
            elif version is None:
                inserts.append((*key, next(self._versions), value))
            else:
                updates.append((next(self._versions), value, *key, version))
        # Inserts first: one waits for whoever updates that row just now, and must not hold what that one waits for.
        for sql, rows in ((_INSERT, inserts), (_UPDATE, updates), (_DELETE, deletes)):
            if rows and await tx.many(sql, rows) != len(rows):
                raise Conflict("rows changed meanwhile")
        if work.tombstones:
            named = [(s, self.people.hash(s)) for s in sorted({s for _, s in work.puts}) if s in work.tombstones]
            await tx.many("UPDATE tombstones SET subject = ? WHERE hash = ?", named)


_UPDATE = "UPDATE rows SET version = ?, value = ? WHERE tbl = ? AND subject = ? AND version = ?"
_INSERT = "INSERT INTO rows (tbl, subject, version, value) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_DELETE = "DELETE FROM rows WHERE tbl = ? AND subject = ? AND version = ?"


def _opened(place: StoreConfig) -> AbstractAsyncContextManager[Database]:
    return PostgresDatabase.open(place) if is_postgres(place.url) else SqliteDatabase.open(file_of(place.url))
