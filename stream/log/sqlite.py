"""The embedded log: one SQLite file, one process that writes it, one thread that does. See Log and Cursor."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from stream.errors import LogError, LogFull, LogUnavailable
from stream.log import Cursor, OnAssign, OnRevoke
from stream.log.members import Group, Member
from stream.log.partitioner import partition_of
from stream.log.sqlite_cursor import Feed, SqliteCursor
from stream.log.sqlite_file import LogFile, last_to_close, look, prepare, sole_writer
from stream.log.sqlite_history import history
from stream.log.sqlite_positions import PositionCopies
from stream.log.sqlite_reader import Reader
from stream.log.sqlite_retention import Retention
from stream.log.sqlite_rows import Row, encode
from stream.log.sqlite_tail import Tail
from stream.log.sqlite_writer import Writer
from stream.message import Delivery, Message, Partition

_DRAIN_S = 10.0  # for how long closing goes on writing what is queued


class SqliteHistory:
    """The log as any process may read it, beside the one that writes."""

    def __init__(self, file: LogFile, feed: Feed) -> None:
        self._file = file
        self._feed = feed
        self._groups: dict[str, Group] = defaultdict(Group)
        self._members: list[Member] = []

    @classmethod
    @asynccontextmanager
    async def open_readonly(cls, path: Path, *, wait: float = 0.2) -> "AsyncIterator[SqliteHistory]":
        """Opens a log that another process writes, or none. New messages are found by asking, every `wait` seconds."""
        file = await asyncio.to_thread(look, path)
        async with _reader(file) as reader:
            yield SqliteHistory(file, Feed(reader, await reader.ends(), True, wait, Tail()))

    @property
    def identity(self) -> str:
        """Names this very file, and so all of its topics."""
        return self._file.identity

    async def identities(self, topics: Collection[str]) -> Mapping[str, str]:
        """See Log."""
        return dict.fromkeys(topics, self._file.identity)

    async def append(self, messages: Sequence[Message]) -> None:
        """Raises LogError: this process only reads."""
        raise LogError(f"the log at {self._file.path} was opened for reading only")

    @asynccontextmanager
    async def consume(
        self,
        group: str,
        topics: Collection[str],
        on_assign: OnAssign,
        on_revoke: OnRevoke,
        until: Mapping[Partition, int] | None = None,
    ) -> AsyncIterator[Cursor]:
        """See Log. Members of other processes do not count: give a group that is run elsewhere another name."""
        member = Member(self._partitions(topics), on_assign, on_revoke)
        members = self._groups[group]
        members.join(member)
        self._members.append(member)
        try:
            yield SqliteCursor(self._feed, member, until, lambda positions: self._keep(group, positions))
        finally:
            self._members.remove(member)
            await members.leave(member)

    def read(self, topic: str, since: float = 0.0, until: float | None = None) -> AsyncIterator[Delivery]:
        """See Log. What the partitions' batches hold comes in the order in which they were taken. When another process
        writes, the end of the log is the one that this process last heard of."""
        ends = {partition: self._feed.ends[partition] for partition in self._partitions([topic])}
        return history(self._feed.reader, ends, since, until)

    async def bounds(self, topics: Collection[str], at: float | None = None) -> dict[Partition, tuple[int, int]]:
        """See Log."""
        return await self._feed.reader.bounds(self._partitions(topics), at)

    async def committed(self, group: str) -> dict[Partition, int]:
        """The copies of a group's positions, as far as they are written."""
        return await self._feed.reader.positions(group)

    def _partitions(self, topics: Collection[str]) -> list[Partition]:
        return [partition for topic in topics for partition in self._file.partitions(topic)]

    def _keep(self, group: str, positions: Mapping[Partition, int]) -> None:
        raise LogError(f"the log at {self._file.path} was opened for reading only")


class SqliteLog(SqliteHistory):
    """The log as the one process has it that writes."""

    def __init__(self, file: LogFile, feed: Feed, clock: Callable[[], float], queue_bytes: int) -> None:
        super().__init__(file, feed)
        self._queue_bytes = queue_bytes
        self._routes = {
            topic: [file.ids[partition] for partition in file.partitions(topic)]
            for topic in {partition.topic for partition in file.ids}
        }
        self._by_id = {id: partition for partition, id in file.ids.items()}
        self._writer = Writer(file.path, clock, self._heard)
        self._copies = PositionCopies(self._writer)
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        partitions: int,
        clock: Callable[[], float],
        queue_bytes: int = 64 * 1024 * 1024,
        wait: float = 0.2,
    ) -> "AsyncIterator[SqliteLog]":
        """Opens the log for writing, and makes it if there is none. A fetch waits for `wait` seconds at most.

        Raises LogInUse if another process writes it, ConfigError if it was made with another number of partitions.
        Closing writes what is queued, for at most 10 s; what is left then raises LogUnavailable."""
        with sole_writer(path):
            file = await asyncio.to_thread(prepare, path, partitions, clock())
            async with last_to_close(path), _reader(file) as reader:
                log = SqliteLog(file, Feed(reader, await reader.ends(), False, wait, Tail()), clock, queue_bytes)
                try:
                    yield log
                finally:
                    await log._close()

    @property
    def queued_bytes(self) -> int:
        """What waits to be written, or is being written."""
        return self._writer.queued_bytes

    @property
    def appended_messages(self) -> int:
        """How many messages have become durable since it was opened."""
        return self._writer.appended_messages

    @property
    def appended_bytes(self) -> int:
        """How many bytes have become durable since it was opened."""
        return self._writer.appended_bytes

    @property
    def commits(self) -> int:
        """In how many commits."""
        return self._writer.commits

    @property
    def ends(self) -> Mapping[Partition, int]:
        """The offset that each partition's next message will get, as far as it is written."""
        return self._feed.ends

    async def append(self, messages: Sequence[Message]) -> None:
        """See Log. An append that is larger than the bound by itself is taken when nothing else waits: it would never
        get through otherwise."""
        if messages:
            await self.enqueue(messages)

    def enqueue(self, messages: Sequence[Message]) -> asyncio.Future[None]:
        """append(), whose place in the order is taken before this returns; done when it is durable."""
        self._check_open()
        (parts, size), queued = self._encoded(messages), self._writer.queued_bytes
        if queued and queued + size > self._queue_bytes:
            raise LogFull(f"{queued} bytes wait to be written, {size} more would pass the bound of {self._queue_bytes}")
        return self._writer.append(parts, len(messages), size)

    async def extent(self) -> tuple[int, float | None]:
        """How many bytes it holds, and when the oldest message that is still kept was taken."""
        return await self._feed.reader.extent()

    async def trouble(self) -> str | None:
        """Why nothing can be appended now; None if something can. After a failure it is tried anew at each call: nobody
        sends events to a receiver that is not ready, so no append would tell that there is room again."""
        if self._writer.failure is not None:
            with contextlib.suppress(LogUnavailable):
                await self._writer.turn(lambda connection: connection.execute("UPDATE log SET tries = tries + 1"))
        return self._writer.failure

    async def retain(self, keep_from: Mapping[Partition, int], older_than: float, max_bytes: int) -> int:
        """Deletes what was taken before `older_than` (seconds since the epoch), and, while the log holds more than
        `max_bytes` (0: no bound), the oldest of the rest; never at or beyond a partition's offset in `keep_from`: one
        that is absent may go whole. Whole batches only, a few at a time, between appends. Returns how many messages."""
        self._check_open()
        ends = dict(self._feed.ends)  # as they are now: appends must not keep it going for ever
        limits = {id: min(keep_from.get(at, ends[at]), ends[at]) for id, at in self._by_id.items()}
        retention = Retention(limits, older_than, max_bytes)
        total = 0
        while deleted := await self._writer.turn(retention.step):
            self._feed.tail.clear()
            total += deleted
        return total

    def _encoded(self, messages: Sequence[Message]) -> tuple[dict[int, list[bytes]], int]:
        parts: dict[int, list[bytes]] = {}
        size = 0
        for message in messages:
            route = self._routes.get(message.topic)
            if route is None:
                raise LogError(f"{self._file.path} has no topic {message.topic!r}: nothing of this append was kept")
            data = encode(message)
            size += len(data)
            parts.setdefault(route[partition_of(message.key, len(route))], []).append(data)
        return parts, size

    def _heard(self, rows: Sequence[Row]) -> None:
        """A commit: those who wait for what it holds need wait no longer."""
        partitions = {self._by_id[id]: end for id, _, end, *_ in rows}
        for row in rows:
            self._feed.tail.add(self._by_id[row[0]], row)
        for partition, end in partitions.items():
            self._feed.ends[partition] = max(end, self._feed.ends[partition])
        for member in self._members:
            if member.assigned is not None and not partitions.keys().isdisjoint(member.assigned):
                member.changed.set()

    def _keep(self, group: str, positions: Mapping[Partition, int]) -> None:
        self._check_open()
        self._copies.keep(group, {self._file.ids[partition]: position for partition, position in positions.items()})

    def _check_open(self) -> None:
        if self._closed:
            raise LogError(f"the log at {self._file.path} is closed")

    async def _close(self) -> None:
        self._closed = True
        self._copies.write()
        await self._writer.close(_DRAIN_S)
        for group in self._groups.values():
            await group.close()


@asynccontextmanager
async def _reader(file: LogFile) -> AsyncIterator[Reader]:
    reader = Reader(file)
    try:
        yield reader
    finally:
        await reader.close()
