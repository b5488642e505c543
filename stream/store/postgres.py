"""PostgreSQL's connections: the only file that imports asyncpg.

What can be done again is told apart from what cannot: `Again` is a conflict, `Lost` a connection that is gone, and with
it what was not committed. Whatever else the server refuses is a StoreError, which shows no value.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg

from stream.errors import StoreError, StoreRefused, StoreUnavailable
from stream.places import StoreConfig, shown
from stream.store import dialect
from stream.store.database import Row

_CONNECT_S = 10.0
_IDLE_S = 10  # a process that was frozen in a transaction: its locks are let go, and it must begin again


class Again(Exception):
    """What was done is undone, and is to be done again; alone, if not `beside`."""

    def __init__(self, beside: bool = True) -> None:
        super().__init__()
        self.beside = beside


class Lost(Exception):
    """The connection is lost, and with it what was not committed. `silent`: the server did not answer in time."""

    def __init__(self, why: str, silent: bool = False) -> None:
        super().__init__(why)
        self.silent = silent


class Session:
    """A connection of the server's, as long as it is lent. Raises Again, Lost, StoreError."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def process(self) -> int:
        """Of the server, its number."""
        return int(self._connection.get_server_pid())

    async def rows(self, sql: str, *params: Any) -> list[Row]:
        with _named():
            found = await self._connection.fetch(sql, *map(_held, params))
        return [tuple(row) for row in found]

    async def execute(self, sql: str, *params: Any) -> str:
        """What the server says it did: "COMMIT", "UPDATE 5"."""
        with _named():
            return str(await self._connection.execute(sql, *map(_held, params)))

    async def types(self, sql: str) -> list[str]:
        """Of a statement's parameters."""
        with _named():
            prepared = await self._connection.prepare(sql)
        return [one.name if one.kind == "scalar" else f"{one.name}[]" for one in prepared.get_parameters()]

    async def outcome(self, number: str) -> str | None:
        """What became of the transaction of that number: "committed", "aborted", "in progress"; None: after a failover
        that lost it, nobody has had the number yet. Raises Lost where a standby would have to say so."""
        with _named():
            if await self._connection.fetchval("SELECT pg_is_in_recovery()"):
                raise Lost("it is a standby, and may not know yet what was committed")
        with _named(), contextlib.suppress(asyncpg.InvalidParameterValueError):
            status: str | None = await self._connection.fetchval("SELECT pg_xact_status($1::text::xid8)", number)
            return status
        return None

    def cut(self) -> None:
        """Ends the connection; the server undoes what it has not committed."""
        with contextlib.suppress(asyncpg.InterfaceError):  # the pool has noticed already that it is lost
            self._connection.terminate()


class Sessions:
    """A pool of them. `where`: to name it by."""

    def __init__(self, pool: Any, where: str) -> None:
        self.where = where
        self._pool = pool

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: StoreConfig) -> AsyncIterator["Sessions"]:
        """Connects. Raises StoreUnavailable where it cannot, StoreRefused where no waiting mends that."""
        # Its pool logs every try to reach a server that is away, with a traceback: `outage_began` says that once.
        logging.getLogger("asyncpg").setLevel(logging.CRITICAL + 1)
        where = shown(config.url)
        try:
            pool = await asyncpg.create_pool(
                config.url,
                min_size=1,
                max_size=config.connections,
                timeout=_CONNECT_S,
                command_timeout=config.statement_timeout_s + _CONNECT_S,  # by then the server is not there
                server_settings=_settings(config),
                init=_init,
                reset=_keep,
            )
        except _REFUSED as error:
            raise StoreRefused(f"cannot open the store at {where}: {_said(error)}") from None
        except (*_AWAY, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StoreUnavailable(f"cannot open the store at {where}: {_said(error)}") from None
        try:
            yield cls(pool, where)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONNECT_S):
                    await pool.close()
            pool.terminate()

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[Session]:
        """One for the block. Raises StoreUnavailable where there is none to be had."""
        try:
            connection = await self._pool.acquire(timeout=2 * _CONNECT_S)
        except (*_AWAY, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StoreUnavailable(f"store at {self.where}: {_said(error)}") from None
        try:
            yield Session(connection)
        except Lost:
            await self._pool.expire_connections()  # the others may be as dead
            raise
        except asyncio.CancelledError:
            with contextlib.suppress(asyncpg.InterfaceError):  # it has ended, and is out of the pool
                connection.terminate()  # a transaction may be open, or just opening: the server undoes it
            raise
        finally:
            await self._pool.release(connection)


_AWAY = (OSError, TimeoutError)
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password is one, too
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    ssl.SSLCertVerificationError,
    ValueError,
)
_LOST = (
    *_AWAY,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # after a failover: it is the standby now
)
_CONFLICT = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """What the server or the connection raises, as ours."""
    try:
        yield
    except _CONFLICT:
        raise Again from None
    except asyncpg.DataError as error:  # of asyncpg's own too: a value that no column can hold
        raise StoreError(f"store: {type(error).__name__}") from None
    except _LOST as error:
        raise Lost(_said(error), isinstance(error, TimeoutError)) from None
    except asyncpg.PostgresError as error:
        raise StoreError(f"store: {_said(error)}") from None


async def _init(connection: Any) -> None:
    await connection.set_type_codec(
        "text", schema="pg_catalog", encoder=dialect.escaped, decoder=dialect.plain, format="text"
    )


def _held(param: Any) -> Any:
    """The parameter as the server can hold it. A codec is not asked for the elements of an array."""
    if not isinstance(param, list) or not isinstance(next((one for one in param if one is not None), None), str):
        return param
    try:
        return param if dialect.holds("".join(param)) else [dialect.escaped(one) for one in param]
    except TypeError:  # some are None
        return [one if one is None else dialect.escaped(one) for one in param]


async def _keep(connection: Any) -> None:
    """Nothing of a session outlives a transaction here: a pool's own reset would be one more round trip each time."""


def _settings(config: StoreConfig) -> dict[str, str]:
    # Every statement finds rows by keys that it is given: without statistics, and while tables grow from nothing, the
    # planner would choose to read a table whole, and keep to that.
    return {
        "application_name": "segment-stream",
        "statement_timeout": f"{config.statement_timeout_s * 1_000:.0f}",
        "idle_in_transaction_session_timeout": f"{_IDLE_S * 1_000}",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": f"{_IDLE_S * 1_000}",  # one that was frozen while it was being answered does not idle
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_seqscan": "off",
        "jit": "off",
    }


def _said(error: BaseException) -> str:
    """What it is, without the values that a message may show."""
    if not isinstance(error, asyncpg.PostgresError):
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    state = error.sqlstate or ""
    return f"{error.args[0]} ({state})" if state.startswith(_OPEN) else f"{type(error).__name__} ({state})"


_OPEN = ("08", "25", "28", "3D", "3F", "42", "53", "55", "57", "58")
"""Classes of errors whose messages name no value: connection, password, names of tables, resources, operators."""
