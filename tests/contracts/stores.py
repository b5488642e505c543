"""The stores that the contract is tested on, and the work that the tests give them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from stream.config import IdentityConfig
from stream.core.sheet import Changes, Key
from stream.message import Delivery, Message, Partition
from stream.store import Store, Work
from stream.store.database import Database, Row, Transaction
from stream.store.erasing import identifiers
from stream.store.held import Held
from stream.store.marks import Mark

TRACK = Partition("segment.track", 0)
OTHER = Partition("segment.track", 1)
LOG = "log-1"
T = TypeVar("T")


class Embedded:
    """The embedded store in a folder. Opening it again, at the same time too, is another process' view of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.db"

    def open(self, **identity: Any) -> AbstractAsyncContextManager[Store]:
        return Store.open(f"sqlite:{self.path}", IdentityConfig(**identity))


T = TypeVar("T")

KINDS: dict[str, Callable[[Path], Embedded]] = {"sqlite": Embedded}


class Watched:
    """A store's database, whose statements and rows are counted."""

    def __init__(self, db: Database) -> None:
        self.statements = self.read_rows = 0
        self._db = db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        async with self._db.read() as tx:
            yield WatchedTransaction(self, tx)

    @asynccontextmanager
    async def write(self, durable: bool = True) -> AsyncIterator[Transaction]:
        async with self._db.write(durable) as tx:
            yield WatchedTransaction(self, tx)

    async def reading(self, body: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self.read() as tx:
            return await body(tx)

    async def writing(self, body: Callable[[Transaction], Awaitable[T]], durable: bool = True) -> T:
        async with self.write(durable) as tx:
            return await body(tx)


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


async def claimed(store: Store, processor: str = "p", *partitions: Partition) -> dict[Partition, int]:
    """New claims of a processor on these partitions, or on TRACK."""
    found = await store.positions.claim(processor, dict.fromkeys(partitions or (TRACK,), 0), LOG)
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
    async with store.db.write() as tx:
        return await store.marks.add(tx, processor, wanted)


async def clear(
    store: Store, marks: Sequence[Mark], published: Mapping[str, int] | None = None, nulled: Collection[str] = ()
) -> None:
    """Clears marks of "p", as its publisher does."""
    async with store.db.write() as tx:
        await store.marks.clear(tx, "p", marks, dict(published or {}), nulled)


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
    async with store.db.write() as tx:
        grave = await store.erasing.grave(tx, request)
        rows = await store.erasing.rows(tx, grave, tables)
        named = identifiers((table, value) for table, _, _, value in rows)
        await store.deletions.collect(tx, request, grave.subjects, named, 2_000.0)
        erased = await store.erasing.erase(tx, grave, rows, lambda table, value, time: left)
        await store.deletions.erased(tx, request, erased)
    return erased


async def components(store: Store, *subjects: str) -> dict[str, tuple[str, ...]]:
    """The subjects of each subject's person."""
    async with store.db.read() as tx:
        found = await store.people.components(tx, subjects)
    return {subject: component.subjects for subject, component in found.items()}


async def tombstones(store: Store, *subjects: str) -> dict[str, float]:
    async with store.db.read() as tx:
        return await store.people.tombstones(tx, subjects)


async def hold(store: Store, *held: Held) -> None:
    async with store.db.write() as tx:
        await store.held.add(tx, held)


def dead(subject: str = "user:1", time: float = 5.0, offset: int = 0, **more: Any) -> Held:
    """A dead delivery."""
    message = Message("segment.track", b"1", b'{"a":1}', (("source", b"web"),))
    given: dict[str, Any] = {"processor": "p", "reason": "why", "trace": "Traceback", "since": 7.0}
    return Held(delivery=Delivery(message, TRACK, offset, 6.0), subject=subject, time=time, **(given | more))
