"""Database: the small driver under the store. SQL is written once; a driver knows one server's dialect.

A *transaction* is all or nothing, and sees one state of the database. A *durable* one is on disk when it returns; any
other may be lost together with all later ones when the power fails, never in part and never on kill -9.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

Row = tuple[Any, ...]
T = TypeVar("T")


class Transaction(Protocol):
    """An open transaction. Leaving its block commits it; an exception rolls it back."""

    async def all(self, sql: str, *params: Any) -> list[Row]:
        """The rows of a query."""
        ...

    async def run(self, sql: str, *params: Any) -> int:
        """Executes; the number of rows it touched."""
        ...

    async def many(self, sql: str, rows: Iterable[Row]) -> int:
        """Executes once per row of parameters; the number of rows touched in all."""
        ...


class Database(Protocol):
    """Where the store's tables lie. Raises StoreError for what the server refuses."""

    def write(self, durable: bool = True) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that may write. One at a time per database; others wait."""
        ...

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that only reads, beside any writer."""
        ...

    async def writing(self, body: Callable[[Transaction], Awaitable[T]], durable: bool = True) -> T:
        """What `body` returns, run as one transaction that may write. It awaits nothing but the transaction, and may
        run in another thread: a driver that must visit one for each statement visits it once for all of them."""
        ...

    async def reading(self, body: Callable[[Transaction], Awaitable[T]]) -> T:
        """The same, for a transaction that only reads."""
        ...

    def among(self, column: str) -> str:
        """SQL for "column is one of the parameter's values"; give the parameter as `listed(values)`."""
        ...

    def listed(self, values: Iterable[str]) -> Any:
        """A list as one parameter."""
        ...
