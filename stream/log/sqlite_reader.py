"""Reads the embedded log: on connections of its own, in threads of its own, a page at a time."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from sqlite3 import Connection
from typing import NamedTuple, TypeVar

from stream.errors import LogError, LogUnavailable
from stream.log.sqlite_file import LogFile, readable
from stream.log.sqlite_retention import used_bytes
from stream.log.sqlite_rows import deliveries, read_ends
from stream.message import Delivery, Partition

T = TypeVar("T")

_THREADS = 4


class Span(NamedTuple):
    """Where to read on, and how many messages are wanted."""

    partition: Partition
    position: int
    messages: int


class Page(NamedTuple):
    """What was read of one partition: whole rows, the first one cut at the position. `size` is in bytes."""

    deliveries: list[Delivery]
    size: int


class Reader:
    """Answers questions about what is durable. An unfinished SELECT would keep the write-ahead file from being begun
    anew, so each question is asked and finished inside one call in one thread."""

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._own = threading.local()
        self._connections: list[Connection] = []
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="log-reader")
        self._closed = False

    async def pages(self, spans: Sequence[Span], budget: int) -> dict[Partition, Page]:
        """The next messages of each span, in turn until about `budget` bytes are read: what comes after has no page."""
        return await self._ask(lambda connection: self._pages(connection, spans, budget))

    async def bounds(self, partitions: Iterable[Partition], at: float | None) -> dict[Partition, tuple[int, int]]:
        """First and next offset; with `at`, the first one taken at or after that time in place of the next."""
        return await self._ask(lambda connection: self._bounds(connection, partitions, at))

    async def ends(self) -> dict[Partition, int]:
        """The offset that each partition's next message will get."""
        by_id = await self._ask(read_ends)
        return {partition: by_id[id] for partition, id in self._file.ids.items()}

    async def extent(self) -> tuple[int, float | None]:
        """How many bytes are kept, and the time of the oldest row."""
        return await self._ask(_extent)

    async def positions(self, group: str) -> dict[Partition, int]:
        """What a group has committed."""
        query = "SELECT partition_id, next FROM position WHERE reader = ?"
        by_id = dict(await self._ask(lambda connection: connection.execute(query, (group,)).fetchall()))
        return {partition: by_id[id] for partition, id in self._file.ids.items() if id in by_id}

    async def close(self) -> None:
        """Waits for the questions that are being asked."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._connections:
            connection.close()

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        if self._closed:
            raise LogError(f"the log at {self._file.path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)

    # From here on: a reader's thread.

    def _answer(self, question: Callable[[Connection], T]) -> T:
        try:
            connection = getattr(self._own, "connection", None)
            if connection is None:
                connection = self._own.connection = readable(self._file.path)
                self._connections.append(connection)
            return question(connection)
        except sqlite3.Error as error:
            raise LogUnavailable(f"cannot read the log at {self._file.path}: {error}") from error

    def _pages(self, connection: Connection, spans: Sequence[Span], budget: int) -> dict[Partition, Page]:
        found: dict[Partition, Page] = {}
        for span in spans:
            found[span.partition] = page = _page(connection, self._file.ids[span.partition], span, budget)
            budget -= page.size
            if budget <= 0:
                break
        return found

    def _bounds(
        self, connection: Connection, partitions: Iterable[Partition], at: float | None
    ) -> dict[Partition, tuple[int, int]]:
        found: dict[Partition, tuple[int, int]] = {}
        with _snapshot(connection):
            ends = read_ends(connection)
            for partition in partitions:
                id = self._file.ids[partition]
                first, end = _first(connection, id, ends[id]), ends[id]
                found[partition] = (first, end if at is None else _taken_at(connection, id, at, first, end))
        return found


def _page(connection: Connection, id: int, span: Span, budget: int) -> Page:
    found: list[Delivery] = []
    size = 0
    query = "SELECT first, time, data FROM batch WHERE partition_id = ? AND next > ? ORDER BY next"
    with closing(connection.execute(query, (id, span.position))) as rows:
        for first, time, data in rows:
            row = deliveries(span.partition, first, time, data)
            found.extend(row if first >= span.position else list(row)[span.position - first :])
            size += len(data)
            if len(found) >= span.messages or size >= budget:
                break
    return Page(found, size)


def _first(connection: Connection, id: int, end: int) -> int:
    query = "SELECT first FROM batch WHERE partition_id = ? ORDER BY next LIMIT 1"
    row = connection.execute(query, (id,)).fetchone()
    return int(row[0]) if row else end


def _extent(connection: Connection) -> tuple[int, float | None]:
    row = connection.execute("SELECT time FROM batch ORDER BY id LIMIT 1").fetchone()
    return used_bytes(connection), row and row[0]


def _taken_at(connection: Connection, id: int, at: float, low: int, high: int) -> int:
    """The first offset from `low` to `high` whose time is at or after `at`: times never go back, so halve and look."""
    query = "SELECT first, next, time FROM batch WHERE partition_id = ? AND next > ? ORDER BY next LIMIT 1"
    while low < high:
        first, end, time = connection.execute(query, (id, (low + high) // 2)).fetchone()
        low, high = (low, first) if time >= at else (end, high)
    return low


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    """All statements inside see the same log."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
