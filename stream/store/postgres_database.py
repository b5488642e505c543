"""PostgreSQL as the store's database.

Bodies that write run under READ COMMITTED and one advisory lock of the whole store: shared by those that run beside
each other, held by one that is alone. Those that read see one snapshot (docs/decisions/0013). What conflicts is run
again, and so is what a lost connection cut off, once it is known that it was not committed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from importlib import resources
from typing import Any, TypeVar

from stream.errors import StoreError, StoreUnavailable, WentBack
from stream.places import StoreConfig
from stream.store import dialect
from stream.store.database import Row, Transaction
from stream.store.postgres import Again, Lost, Session, Sessions

T = TypeVar("T")
Body = Callable[[Transaction], Awaitable[T]]

_REDONE = 20  # of two in a conflict one gets through each time
_RECONNECTED = 3
_POLL_S = 0.1
_WITH_IDS = ("audit", "held", "requests", "walks")


class PostgresTransaction:
    """An open transaction of one session."""

    def __init__(self, session: Session, for_all: dict[str, str | None], beside: bool) -> None:
        self._session = session
        self._for_all = for_all
        self._beside = beside

    async def all(self, sql: str, *params: Any) -> list[Row]:
        return await self._session.rows(dialect.numbered(sql), *params)

    async def run(self, sql: str, *params: Any) -> int:
        return _touched(await self._session.execute(dialect.numbered(sql), *params))

    async def many(self, sql: str, rows: Iterable[Row]) -> int:
        given = list(rows)
        if not given:
            return 0
        if sql not in self._for_all:
            one = dialect.numbered(sql)
            self._for_all[sql] = dialect.for_all(one, await self._session.types(one))
        whole = self._for_all[sql]
        if whole is None or len(given) == 1:
            return sum([await self.run(sql, *row) for row in given])
        return _touched(await self._session.execute(whole, *map(list, zip(*given, strict=True))))

    async def alone(self) -> None:
        if self._beside:
            raise Again(beside=False)


class PostgresDatabase:
    """A database, or one schema of it (`?search_path=…` in the url)."""

    locking = " FOR UPDATE"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._for_all: dict[str, str | None] = {}
        self._timeline: str | None = None  # another one since each failover

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: StoreConfig) -> AsyncIterator["PostgresDatabase"]:
        """Connects. Raises StoreUnavailable where it cannot."""
        async with Sessions.open(config) as sessions:
            yield cls(sessions)

    async def writing(self, body: Body[T], durable: bool = True, beside: bool = False) -> T:
        # Always durable: a server that crashes does not take its processes with it, and a member whose last commits
        # are gone would go on behind the gap.
        for _ in range(_REDONE):
            try:
                return await self._connected(partial(self._written, body=body, beside=beside))
            except Again as again:
                beside = beside and again.beside
            except _Unknown as unknown:
                if await self._committed(unknown):
                    done: T = unknown.done
                    return done
        raise StoreError(f"store at {self._sessions.where}: a transaction met a conflict {_REDONE} times")

    async def reading(self, body: Body[T]) -> T:
        for _ in range(_REDONE):
            with contextlib.suppress(Again):
                return await self._connected(partial(self._read, body=body))
        raise StoreError(f"store at {self._sessions.where}: a read was cancelled {_REDONE} times")

    def among(self, column: str) -> str:
        return f"{column} = ANY(?::text[])"

    def each(self, name: str) -> str:
        return f"unnest(?::text[]) AS {name} (value)"

    def listed(self, values: Iterable[str]) -> list[str]:
        return list(values)

    async def has(self, tx: Transaction, table: str) -> bool:
        query = "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = ?"
        return bool(await tx.all(query, table))

    async def restart_ids(self) -> None:
        async def write(tx: Transaction) -> None:
            for table in _WITH_IDS:
                last = f"SELECT coalesce(max(id), 0) + 1 FROM {table}"
                await tx.all(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), ({last}), false)")

        await self.writing(write)

    def ddl(self, statement: str) -> str:
        return dialect.ddl(statement)

    def views(self) -> Sequence[str]:
        return dialect.views(resources.files("stream.store").joinpath("views.sql").read_text())

    async def _connected(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """On one session; a lost one is replaced. Raises StoreUnavailable where none can be had."""
        why = ""
        for _ in range(_RECONNECTED):
            try:
                async with self._sessions.lent() as session:
                    return await work(session)
            except Lost as lost:
                why = str(lost)
                if lost.silent:  # another session would wait as long
                    break
        raise StoreUnavailable(f"store at {self._sessions.where}: {why}")

    async def _read(self, session: Session, body: Body[T]) -> T:
        async with _begun(session, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            found = await body(PostgresTransaction(session, self._for_all, False))
            await session.execute("ROLLBACK")  # there is nothing to commit
            return found

    async def _written(self, session: Session, body: Body[T], beside: bool) -> T:
        async with _begun(session, "BEGIN"):
            ((_, number, timeline),) = await session.rows(_BESIDE if beside else _ALONE)
            self._stay_on(timeline)
            done = await body(PostgresTransaction(session, self._for_all, beside))
            process = session.process
            try:
                said = await session.execute("COMMIT")
            except Lost:
                raise _Unknown(number, process, done) from None
            if said != "COMMIT":
                raise StoreError("a statement had failed: nothing was written")
            return done

    async def _committed(self, unknown: "_Unknown") -> bool:
        """Was the transaction committed whose answer was lost? Waits for the server to say so: a body that is run again
        although it was committed would count its events twice."""
        while True:
            with contextlib.suppress(StoreError):  # whatever it is that keeps it from answering
                outcome = await self._connected(partial(self._outcome, unknown=unknown))
                if outcome != "in progress":
                    return outcome == "committed"
            await asyncio.sleep(_POLL_S)

    async def _outcome(self, session: Session, unknown: "_Unknown") -> str | None:
        outcome = await session.outcome(unknown.number)
        ((timeline,),) = await session.rows(f"SELECT {_TIMELINE}")
        self._stay_on(timeline)  # on another one, both numbers may be somebody else's
        if outcome == "in progress":  # only the network broke, and that process may still wait for us
            await session.rows("SELECT pg_terminate_backend($1)", unknown.process)
        return outcome

    def _stay_on(self, timeline: str) -> None:
        """Raises WentBack after a failover. The new server may lack the last of what was committed; which, nobody can
        tell: positions that it has, with nothing held of what lies before them, look like any others."""
        self._timeline = self._timeline or timeline
        if timeline != self._timeline:
            raise WentBack(
                f"store at {self._sessions.where}: another server has taken over, which may have forgotten the last of"
                " what was committed: begin anew from what it has"
            )


class _Unknown(Exception):
    """The connection was lost at the commit of this transaction, of that process of the server's."""

    def __init__(self, number: str, process: int, done: Any) -> None:
        super().__init__()
        self.number = number
        self.process = process
        self.done = done


@contextlib.asynccontextmanager
async def _begun(session: Session, begin: str) -> AsyncIterator[None]:
    await session.execute(begin)
    try:
        yield
    except (Lost, _Unknown, asyncio.CancelledError):
        session.cut()
        raise
    except BaseException:
        await session.execute("ROLLBACK")
        raise


def _touched(status: str) -> int:
    """From "UPDATE 5", or "INSERT 0 5"."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


_KEY = "7305, hashtext(current_schema())"
_TIMELINE = "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
_LOCKED = f"({_KEY}), pg_current_xact_id()::text, {_TIMELINE}"
_BESIDE = f"SELECT pg_advisory_xact_lock_shared{_LOCKED}"
_ALONE = f"SELECT pg_advisory_xact_lock{_LOCKED}"
