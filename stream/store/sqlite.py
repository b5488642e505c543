"""SQLite as the store's database: one writing connection with a thread of its own, one reading one."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stream import private
from stream.errors import StoreError
from stream.store.database import Row, Transaction

T = TypeVar("T")

_CACHE_KB = 16 * 1024  # of each connection; the operating system caches the rest, and memory stays flat
_CHECKPOINT_PAGES = 4_000  # 16 MB: a batch of projections writes about 4 MB (facts: a commit of 1,000 random rows)


class SqliteTransaction:
    """An open transaction, in the connection's thread: each statement is done when it is awaited."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def all(self, sql: str, *params: Any) -> list[Row]:
        return _all(self._connection, sql, params)

    async def run(self, sql: str, *params: Any) -> int:
        return _run(self._connection, sql, params)

    async def many(self, sql: str, rows: Iterable[Row]) -> int:
        return _many(self._connection, sql, rows)

    async def alone(self) -> None:
        pass  # it is


class SqliteDatabase:
    """A file. Several processes may open it; one of them at a time writes."""

    locking = ""  # one at a time writes

    def __init__(self, writer: "_Thread", reader: "_Thread") -> None:
        self._writer = writer
        self._reader = reader
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator["SqliteDatabase"]:
        """Opens or creates the file. Raises StoreError where it cannot."""
        async with _Thread.open(path, "store-write") as writer, _Thread.open(path, "store-read") as reader:
            yield cls(writer, reader)

    async def writing(
        self, body: Callable[[Transaction], Awaitable[T]], durable: bool = True, beside: bool = False
    ) -> T:
        async with self._writing:
            return await self._writer.call(_whole, _begin_durable if durable else _begin_fast, body)

    async def reading(self, body: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._reading:
            return await self._reader.call(_whole, _begin_read, body)

    def among(self, column: str) -> str:
        return f"{column} IN (SELECT value FROM json_each(?))"

    def each(self, name: str) -> str:
        return f"json_each(?) AS {name}"

    def listed(self, values: Iterable[str]) -> str:
        return msgspec.json.encode(list(values)).decode()

    async def has(self, tx: Transaction, table: str) -> bool:
        return bool(await tx.all("SELECT 1 FROM sqlite_master WHERE name = ?", table))

    async def restart_ids(self) -> None:
        pass  # they follow the largest

    def ddl(self, statement: str) -> str:
        return statement

    def views(self) -> tuple[str, ...]:
        return ()


class _Thread:
    """A connection, and the only thread that touches it."""

    def __init__(self, executor: ThreadPoolExecutor, connection: sqlite3.Connection) -> None:
        self._executor = executor
        self._connection = connection

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: Path, name: str) -> AsyncIterator["_Thread"]:
        executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(executor, _connect, path)
            try:
                yield cls(executor, connection)
            finally:
                await asyncio.shield(loop.run_in_executor(executor, connection.close))
        finally:
            executor.shutdown(wait=True)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        bound = partial(_named, function, self._connection, args)
        return await asyncio.get_running_loop().run_in_executor(self._executor, bound)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        private.make(path)  # SQLite's own files beside it get the same mode
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _refuse_others(connection, path)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA fullfsync=1")
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
        except BaseException:
            connection.close()
            raise
        return connection
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"cannot open the state file {path}: {error}") from error


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if tables and "meta" not in tables:
        raise StoreError(f"{path} is a database, but not a state file; name another file in [store] url")


def _named(function: Callable[..., T], connection: sqlite3.Connection, args: tuple[Any, ...]) -> T:
    try:
        return function(connection, *args)
    except sqlite3.Error as error:
        raise StoreError(f"state file: {error}") from error


def _whole(
    connection: sqlite3.Connection,
    begin: Callable[[sqlite3.Connection], None],
    body: Callable[[Transaction], Awaitable[T]],
) -> T:
    try:
        begin(connection)
        done = _result(body(SqliteTransaction(connection)))
        _commit(connection)
        return done
    except BaseException:
        _rollback(connection)
        raise


def _result(running: Awaitable[T]) -> T:
    steps = running.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("the body of a transaction awaited something else than the transaction")


def _begin_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("BEGIN IMMEDIATE")


def _begin_fast(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("BEGIN IMMEDIATE")


def _begin_read(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")


def _commit(connection: sqlite3.Connection) -> None:
    connection.execute("COMMIT")


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _all(connection: sqlite3.Connection, sql: str, params: tuple[Any, ...]) -> list[Row]:
    return connection.execute(sql, params).fetchall()


def _run(connection: sqlite3.Connection, sql: str, params: tuple[Any, ...]) -> int:
    return connection.execute(sql, params).rowcount


def _many(connection: sqlite3.Connection, sql: str, rows: Iterable[Row]) -> int:
    return connection.executemany(sql, rows).rowcount
