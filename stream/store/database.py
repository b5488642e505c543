"""Database: the small driver under the store. SQL is written once; a driver knows one server's dialect.

A *transaction* is all or nothing. A *durable* one is on disk when it returns; any other may be lost, together with all
later ones, where a failure takes both the process and the database: never in part, never on kill -9, and never under a
process that lives on.

A *body* is what is done in a transaction. It awaits nothing but the transaction, may run in another thread, and may be
run again from its beginning, after a conflict or a lost connection: then nothing of the run before it is there. So it
changes nothing outside of it that a second run would change once more.

A body that only reads sees one state of the database. One that writes is *alone*: nobody else writes meanwhile. Only
bodies that were thought through for it run *beside* each other; those see what the others commit meanwhile, so what
they check they either write over conditionally or read with `locking`. What they need not see change at all, because
only bodies that are alone change it: tombstones and deletions.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

Row = tuple[Any, ...]
T = TypeVar("T")


class Transaction(Protocol):
    """An open transaction."""

    async def all(self, sql: str, *params: Any) -> list[Row]:
        """The rows of a query."""
        ...

    async def run(self, sql: str, *params: Any) -> int:
        """Executes; the number of rows it touched."""
        ...

    async def many(self, sql: str, rows: Iterable[Row]) -> int:
        """Executes once per row of parameters, no two of them for the same row of a table, in one statement where the
        server can; the number of rows touched in all. Those who come in order of the key do not block each other."""
        ...

    async def alone(self) -> None:
        """After this nobody else writes until the transaction ends. Where others may, the body is run again, alone."""
        ...


class Database(Protocol):
    """Where the store's tables lie. Raises StoreError for what the server refuses; StoreUnavailable: it is away."""

    @property
    def locking(self) -> str:
        """Behind a SELECT of a body that writes: the rows that it finds stay as they are until the transaction ends."""
        ...

    async def writing(
        self, body: Callable[[Transaction], Awaitable[T]], durable: bool = True, beside: bool = False
    ) -> T:
        """What `body` returns, run as one transaction that may write; beside others of its kind, or alone."""
        ...

    async def reading(self, body: Callable[[Transaction], Awaitable[T]]) -> T:
        """What `body` returns, run as one transaction that only reads, beside any writer."""
        ...

    def among(self, column: str) -> str:
        """SQL for "column is one of the parameter's values"; give the parameter as `listed(values)`."""
        ...

    def each(self, name: str) -> str:
        """SQL for a table of that name with one column, `value`: the parameter's, given as `listed(values)`."""
        ...

    def listed(self, values: Iterable[str]) -> Any:
        """A list as one parameter."""
        ...

    async def has(self, tx: Transaction, table: str) -> bool:
        """Is there such a table?"""
        ...

    async def restart_ids(self) -> None:
        """Rows were written with ids of their own: new ones are larger."""
        ...

    def ddl(self, statement: str) -> str:
        """A statement that makes tables, as this server says it."""
        ...

    def views(self) -> Sequence[str]:
        """The statements that make the views, where there are any."""
        ...
