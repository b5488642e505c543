"""The stores that the contract is tested on, and the work that the tests give them."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from stream.config import IdentityConfig
from stream.core.sheet import Changes, Key
from stream.message import Delivery, Message, Partition
from stream.places import StoreConfig
from stream.store import Store, Work
from stream.store.database import Database, Row, Transaction
from stream.store.erasing import identifiers
from stream.store.held import Held
from stream.store.marks import Mark

TRACK = Partition("segment.track", 0)
OTHER = Partition("segment.track", 1)
LOG = "log-1"
LOGS = dict.fromkeys(("segment.page", TRACK.topic), LOG)
T = TypeVar("T")
Body = Callable[[Transaction], Awaitable[T]]


class Embedded:
    """The embedded store in a folder. Opening it again, at the same time too, is another process' view of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.db"

    def open(self, **identity: Any) -> AbstractAsyncContextManager[Store]:
        return Store.open(f"sqlite:{self.path}", IdentityConfig(**identity))

    @asynccontextmanager
    async def another(self) -> AsyncIterator["Embedded"]:
        """Another store, empty."""
        folder = self.path.parent / uuid.uuid4().hex
        folder.mkdir()
        yield Embedded(folder)


class OnPostgres:
    """Schemas of a test's own on a real server."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._name = f"test_{uuid.uuid4().hex[:12]}"
        self.url = f"{server}{'&' if '?' in server else '?'}search_path={self._name}"

    @asynccontextmanager
    async def made(self) -> AsyncIterator["OnPostgres"]:
        """It is empty at first, and gone afterwards."""
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(f"CREATE SCHEMA {self._name}")
            yield self
            await connection.execute(f"SET client_min_messages = error; DROP SCHEMA {self._name} CASCADE")
        finally:
            await connection.close()

    def another(self) -> AbstractAsyncContextManager["OnPostgres"]:
        """Another store, empty."""
        return OnPostgres(self._server).made()

    def open(self, **identity: Any) -> AbstractAsyncContextManager[Store]:
        return Store.open(StoreConfig(url=self.url, connections=4), IdentityConfig(**identity))


Kind = Embedded | OnPostgres
KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@asynccontextmanager
async def store_of(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    """The store that a test's parameter names."""
    if request.param == "sqlite":
        yield Embedded(tmp_path)
        return
    async with OnPostgres(request.getfixturevalue("postgres_server")).made() as kind:
        yield kind


class Pause:
    """A place in the body of a transaction, which waits there until it is let go, on whatever thread it runs."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._gone_on = threading.Event()

    async def pass_through(self) -> None:
        self._reached.set()
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a thread of the database's
            self._gone_on.wait(10.0)
        else:
            await asyncio.to_thread(self._gone_on.wait, 10.0)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10.0)

    def let_go(self) -> None:
        self._gone_on.set()


class Watched:
    """A store's database, whose statements and rows are counted."""

    def __init__(self, db: Database) -> None:
        self.statements = self.read_rows = 0
        self._db = db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def reading(self, body: Body[T]) -> T:
        return await self._db.reading(lambda tx: body(WatchedTransaction(self, tx)))

    async def writing(self, body: Body[T], durable: bool = True, beside: bool = False) -> T:
        return await self._db.writing(lambda tx: body(WatchedTransaction(self, tx)), durable, beside)


class WatchedTransaction:
    def __init__(self, watched: Watched, tx: Transaction) -> None:
        self._watched, self._tx = watched, tx

    async def all(self, sql: str, *params: Any) -> list[Row]:
        found = await self._tx.all(sql, *params)
        self._watched.statements += 1
        self._watched.read_rows += len(found)
        return found

    async def run(self, sql: str, *params: Any) -> int:
        self._watched.statements += 1
        return await self._tx.run(sql, *params)

    async def many(self, sql: str, rows: Iterable[Row]) -> int:
        self._watched.statements += 1
        return await self._tx.many(sql, rows)

    async def alone(self) -> None:
        await self._tx.alone()


async def claimed(store: Store, processor: str = "p", *partitions: Partition) -> dict[Partition, int]:
    """New claims of a processor on these partitions, or on TRACK."""
    found = await store.positions.claim(processor, dict.fromkeys(partitions or (TRACK,), 0), LOGS)
    return {partition: claim for partition, (_, claim, _) in found.items()}


async def put(store: Store, claims: Mapping[Partition, int], rows: Mapping[Key, str | None], **more: Any) -> list[Mark]:
    """Loads these rows and writes them, as a batch does that nobody disturbs."""
    loaded = await store.load(list(rows))
    given: dict[str, Any] = {
        "processor": "p",
        "claims": dict(claims),
        "loaded": loaded.rows,
        "puts": dict(rows),
        "tombstones": loaded.tombstones,
        "serial": loaded.serial,
    }
    return await store.commit(Work(**(given | more)))


async def values(store: Store, *keys: Key) -> list[str | None]:
    """What the rows hold now."""
    rows = (await store.load(keys)).rows
    return [rows[key].value for key in keys]


async def mark(store: Store, *wanted: tuple[str, str], processor: str = "p") -> list[Mark]:
    """Marks subjects with facets."""
    return await store.db.writing(lambda tx: store.marks.add(tx, processor, wanted))


async def clear(
    store: Store, marks: Sequence[Mark], published: Mapping[str, int] | None = None, nulled: Collection[str] = ()
) -> None:
    """Clears marks of "p", as its publisher does."""
    await store.db.writing(lambda tx: store.marks.clear(tx, "p", marks, dict(published or {}), nulled))


async def link(store: Store, *pairs: tuple[str, str, float], processor: str = "p") -> list[Mark]:
    """Commits these pairs, each with one time, one after another."""
    marks: list[Mark] = []
    for subject, other, time in pairs:
        changes = Changes(links={(subject, other): (time, time)})
        marks += await store.commit(Work(processor=processor, claims={}, changes=changes))
    return marks


async def forget(
    store: Store, subject: str, time: float, request: str = "r1", authority: str = "segment"
) -> list[Mark]:
    """Commits a request to delete."""
    changes = Changes(forgets={(request, subject): (time, authority)})
    return await store.commit(Work(processor="deletion", claims={}, changes=changes, now=1_000.0))


async def erase(store: Store, request: str, left: str | None = None) -> int:
    """Erases what a request is about, as the eraser does; each row is pruned to `left`."""
    tables = await store.tables()

    async def write(tx):
        grave = await store.erasing.grave(tx, request)
        rows = await store.erasing.rows(tx, grave, tables)
        named = identifiers((table, value) for table, _, _, value in rows)
        await store.deletions.collect(tx, request, grave.subjects, named, 2_000.0)
        erased = await store.erasing.erase(tx, grave, rows, lambda table, value, time: left)
        await store.deletions.erased(tx, request, erased)
        return erased

    erased = await store.db.writing(write)
    return erased


async def components(store: Store, *subjects: str) -> dict[str, tuple[str, ...]]:
    """The subjects of each subject's person."""
    found = await store.db.reading(lambda tx: store.people.components(tx, subjects))
    return {subject: component.subjects for subject, component in found.items()}


async def tombstones(store: Store, *subjects: str) -> dict[str, float]:
    return await store.db.reading(lambda tx: store.people.tombstones(tx, subjects))


async def hold(store: Store, *held: Held) -> None:
    await store.db.writing(lambda tx: store.held.add(tx, held))


def dead(subject: str = "user:1", time: float = 5.0, offset: int = 0, **more: Any) -> Held:
    """A dead delivery."""
    message = Message("segment.track", b"1", b'{"a":1}', (("source", b"web"),))
    given: dict[str, Any] = {"processor": "p", "reason": "why", "trace": "Traceback", "since": 7.0}
    return Held(delivery=Delivery(message, TRACK, offset, 6.0), subject=subject, time=time, **(given | more))
