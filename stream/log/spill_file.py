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
        self.untidy = 0
        """How many were moved and not deleted yet."""
        self._log = log
        self._positions = positions  # of what has yet to be moved
        self._max_bytes = max_bytes
        self._cursor: Cursor
        self._next: list[Delivery] = []
        self._used = True
        self._since: float | None = None
        self._oldest: float | None = None
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
        """Since when it is not empty, by the oldest message that it had then; None: it is empty."""
        return None if self.empty else self._since

    @property
    def oldest(self) -> float | None:
        """When the oldest message that has yet to be moved was taken, about; None: there is none."""
        return None if self.empty else self._oldest

    def enqueue(self, messages: Sequence[Message], now: float) -> "Future[None]":
        """Takes the messages' place in the order at once; the future is done when they are durable. Raises LogFull."""
        self._used = True
        if self.empty:
            self._since = self._oldest = now
        elif self.bytes >= self._max_bytes:
            raise LogFull(f"{self.path} holds {self.bytes} bytes, and spill.max_bytes is {self._max_bytes}")
        return self._log.enqueue(messages)

    async def next(self, limit: int) -> list[Delivery]:
        """What is to be moved next, in order, at most `limit`; the same again until it `moved`. Nothing, where
        nothing is durable that has yet to be moved."""
        if not self._next:
            # The cursor is fair to its partitions: so many of one come only if that is its share.
            self._next = await self._cursor.fetch(limit * len(self._positions))
        return self._next[:limit]

    def moved(self, deliveries: Sequence[Delivery]) -> None:
        """The log has them."""
        self._next = self._next[len(deliveries) :]
        self.untidy += len(deliveries)
        for delivery in deliveries:
            self._positions[delivery.partition] = delivery.offset + 1

    async def tidy(self) -> None:
        """Deletes what was moved, once all that was enqueued before is durable or refused. What a full disk keeps from
        being deleted is deleted by a later call."""
        with suppress(LogUnavailable):
            await self._log.retain(self._positions, older_than=float("inf"), max_bytes=0)
            self.untidy = 0
        await self.look()

    async def shrink(self) -> None:
        """Once everything is moved: gives the room back, and removes what messages left there, which names people. What
        a full disk keeps from being done is done by a later call."""
        if not self._used:
            return
        await self.tidy()
        if self.empty and not self.untidy:
            with suppress(sqlite3.Error):
                await asyncio.to_thread(_vacuum, self.path)
                self._used = not self.empty
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
            self._oldest = oldest if oldest is not None else self._oldest
            self._since = self._oldest if self._since is None else self._since

    async def _assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return {partition: self._positions[partition] for partition in partitions}


async def _revoked(partitions: Collection[Partition]) -> None:
    """Nobody else reads it."""


def _vacuum(path: Path) -> None:
    with closing(writable(path)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
