"""One spill file: messages that wait for the log, in the order in which they came. An embedded log with one reader."""

import asyncio
import sqlite3
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

from stream import topics
from stream.errors import LogFull, LogUnavailable
from stream.log import Cursor
from stream.log.sqlite import SqliteLog
from stream.log.sqlite_file import writable
from stream.message import Delivery, Message, Partition


class SpillFile:
    """What waits in it survives kill -9 and a loss of power. What was moved to the log is deleted soon after: a crash
    in between moves it once more."""

    def __init__(self, path: Path, log: SqliteLog, positions: dict[Partition, int], max_bytes: int) -> None:
        self.path = path
        self.name = log.identity
        """Names this very file, wherever it is mounted and whoever has it open."""
        self._log = log
        self._positions = positions  # of what has yet to be moved
        self._max_bytes = max_bytes
        self._cursor: Cursor
        self._next: list[Delivery] = []
        self._since: float | None = None
        self._held_bytes, self._counted_at = 0, 0

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, clock: Callable[[], float], max_bytes: int) -> "AsyncIterator[SpillFile]":
        """Opens the file, and makes it if there is none. Raises LogInUse if another process has it, LogError if it is
        no file of this version."""
        async with SqliteLog.open(path, partitions=1, clock=clock, queue_bytes=max_bytes, wait=0.0) as log:
            positions = {partition: first for partition, (first, _) in (await log.bounds(topics.ALL)).items()}
            file = cls(path, log, positions, max_bytes)
            async with log.consume("drain", topics.ALL, file._assigned, _revoked) as file._cursor:
                await file.look()
                yield file

    @property
    def queued_bytes(self) -> int:
        """What is being written."""
        return self._log.queued_bytes

    @property
    def messages(self) -> int:
        """How many have yet to be moved, as far as they are durable."""
        return sum(max(end - self._positions[partition], 0) for partition, end in self._log.ends.items())

    @property
    def empty(self) -> bool:
        """Is everything moved, and nothing being written?"""
        return not self._log.queued_bytes and not self.messages

    @property
    def bytes(self) -> int:
        """What it takes of the disk, about; what is being written included."""
        return self._held_bytes + self._log.appended_bytes - self._counted_at + self._log.queued_bytes

    @property
    def since(self) -> float | None:
        """When the oldest message that has yet to be moved was taken, or before; None: there is none."""
        return None if self.empty else self._since

    def enqueue(self, messages: Sequence[Message], now: float) -> "Future[None]":
        """Takes the messages' place in the order at once; the future is done when they are durable. Raises LogFull."""
        if self.empty:
            self._since = now
        elif self.bytes >= self._max_bytes:
            raise LogFull(f"{self.path} holds {self.bytes} bytes, and spill.max_bytes is {self._max_bytes}")
        return self._log.enqueue(messages)

    async def next(self, limit: int) -> list[Delivery]:
        """What is to be moved next, in order, at most `limit`; the same again until it `moved`. Nothing, where
        nothing is durable that has yet to be moved."""
        if not self._next:
            self._next = await self._cursor.fetch(limit)
        return self._next[:limit]

    def moved(self, deliveries: Sequence[Delivery]) -> None:
        """The log has them."""
        self._next = self._next[len(deliveries) :]
        for delivery in deliveries:
            self._positions[delivery.partition] = delivery.offset + 1

    async def tidy(self) -> None:
        """Deletes what was moved, once all that was enqueued before is durable or refused. What a full disk keeps from
        being deleted is deleted by a later call."""
        with suppress(LogUnavailable):
            await self._log.retain(self._positions, older_than=float("inf"), max_bytes=0)
        await self.look()

    async def shrink(self) -> None:
        """Gives the room of an empty file back, and removes what the moved messages left there: they name people. A
        full disk may keep it from that."""
        with suppress(sqlite3.Error):
            await asyncio.to_thread(_vacuum, self.path)
        await self.look()

    async def trouble(self) -> str | None:
        """Why it takes nothing now; None if it does."""
        if not self.empty and self.bytes >= self._max_bytes:
            return f"the spill is full: {self.bytes} bytes"
        return await self._log.trouble()

    async def look(self) -> None:
        """Counts anew what it holds."""
        with suppress(LogUnavailable):  # it stays as counted before
            counted = self._log.appended_bytes
            self._held_bytes, oldest = await self._log.extent()
            self._counted_at = counted
            self._since = oldest if oldest is not None else self._since

    async def _assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return {partition: self._positions[partition] for partition in partitions}


async def _revoked(partitions: Collection[Partition]) -> None:
    """Nobody else reads it."""


def _vacuum(path: Path) -> None:
    with closing(writable(path)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
