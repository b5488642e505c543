"""One partition of Kafka, as it is written: what queued while the last batch was on its way is the next batch."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

from stream.errors import LogError, LogUnavailable, TooLarge
from stream.log.kafka import Kafka, ours, too_large
from stream.log.kafka_client import Batch, Producer, TopicPartition
from stream.log.kafka_closing import beyond_repair
from stream.log.kafka_pool import Channel
from stream.message import Message

_RECORD_BYTES = 61 + 21  # the header of a batch and of a record in it, at most


class Append:
    """Some messages that become durable together; `done` when they all are, or when somebody gave up on one."""

    __slots__ = ("begun", "done", "left", "refused", "time")

    def __init__(self, begun: float, time: int, done: asyncio.Future[None]) -> None:
        self.begun = begun  # by the loop's clock
        self.time = time  # when we took them, in milliseconds since the epoch
        self.left = 0  # messages
        self.refused: list[Message] = []
        self.done = done

    def settle(self, messages: int) -> None:
        """So many more are dealt with."""
        self.left -= messages
        if self.left == 0 and not self.done.done():
            if self.refused:
                self.done.set_exception(TooLarge(self.refused))
            else:
                self.done.set_result(None)

    def fail(self, error: LogError) -> None:
        """Nobody can say that all of it is durable."""
        if not self.done.done():
            self.done.set_exception(type(error)(*error.args))  # one of its own: each is raised elsewhere


Entry = tuple[Append, Message, int]  # with its size


def size_of(message: Message) -> int:
    """What Kafka compares with max.message.bytes, if the message is alone in its batch; or a little more."""
    size = _RECORD_BYTES + len(message.key) + len(message.value or b"")
    # A character has 4 bytes at most, a length 5.
    return size + sum([len(name) * 4 + len(value) + 10 for name, value in message.headers])


class Tally:
    """What is under way in all pumps of a log."""

    def __init__(self) -> None:
        self.queued_bytes = 0
        self.messages = 0  # durable since it was opened
        self.bytes = 0
        self.batches = 0
        self.failure: LogError | None = None  # of the last batch, if it failed
        self.late = False  # so was the last batch, and nobody knows why

    def done(self, entries: Sequence[Entry]) -> None:
        """These are durable."""
        self.messages += len(entries)
        self.bytes += sum(entry[2] for entry in entries)
        self.batches += 1
        self.failure = None
        self.late = False


class Pump:
    """Writes one partition: one batch after the other, so that the order of `put` is the order in Kafka, also where a
    batch had to be repeated."""

    def __init__(self, kafka: Kafka, channel: Channel, partition: TopicPartition, tally: Tally) -> None:
        self._kafka = kafka
        self._channel = channel
        self._partition = partition
        self._tally = tally
        self._limit = kafka.batch_bytes
        self._queue: deque[Entry] = deque()
        self._open: _Open | None = None  # the batch that is to go next, as long as it takes more
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def put(self, entries: Sequence[Entry]) -> None:
        """Queues them. Their sizes count in queued_bytes already."""
        # A batch may wait for a request that is under way: what comes meanwhile still goes into it.
        joined = self._open.take(entries) if self._open is not None and not self._queue else 0
        if joined < len(entries):
            self._queue.extend(entries[joined:])
            self._more.set()

    def give_up(self) -> None:
        """Drops what waits, which the caller has failed."""
        self._tally.queued_bytes -= sum(entry[2] for entry in self._queue)
        self._queue.clear()
        self._open = None

    def close(self, error: LogError) -> None:
        """Fails what waits and what is on its way."""
        _fail(self._queue, error)
        self.give_up()
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._more.clear()
                await self._more.wait()
            producer = await self._channel.producer()
            taken = self._taken()
            try:
                await self._write(producer, taken, whole=True)
            except asyncio.CancelledError:
                _fail(taken, LogUnavailable("the log was closed, or has this partition no more"))
                raise
            finally:
                self._open = None
                self._tally.queued_bytes -= sum(entry[2] for entry in taken)

    def _taken(self) -> list[Entry]:
        """As much as one batch holds; one entry at any size, none if nothing waits any more."""
        taken: list[Entry] = []
        room = self._limit
        while self._queue and (not taken or self._queue[0][2] <= room):
            entry = self._queue.popleft()
            room -= entry[2]
            taken.append(entry)
        return taken

    async def _write(
        self, producer: Producer, entries: list[Entry], whole: bool = False, behind: Sequence[Entry] = ()
    ) -> bool:
        """Whether Kafka took them all for their size; if not, they are halved until it is known which it does not. If
        they fail, so does what was taken `behind` them."""
        if all(append.done.done() for append, _, _ in entries):  # they have failed: nobody waits for them any more
            return True
        try:
            await self._sent(producer, entries, whole)
        except Exception as error:  # the client raises its own, and what its own mistakes raise: all go to who waits
            if too_large(error):
                return await self._halved(producer, entries, behind)
            failure = ours(error, f"writing {self._partition.topic}/{self._partition.partition}")
            self._failed((*entries, *behind), failure)
            if beyond_repair(producer):
                self._channel.replace(producer)
        else:
            self._tally.done(entries)
            for append, _, _ in entries:
                append.settle(1)
        return True

    def _failed(self, entries: Sequence[Entry], error: LogError) -> None:
        if any(not append.done.done() for append, _, _ in entries):  # else they were given up, and their producer
            self._tally.failure = error
            _fail((*entries, *self._queue), error)  # what waits behind them must not overtake them
            self.give_up()

    async def _sent(self, producer: Producer, entries: list[Entry], whole: bool) -> None:
        batch = _Open(producer.create_batch(), entries, self._limit)
        if whole and not self._queue:
            self._open = batch
        await (await producer.send_batch(batch.batch, self._partition.topic, partition=self._partition.partition))

    async def _halved(self, producer: Producer, entries: list[Entry], behind: Sequence[Entry]) -> bool:
        if len(entries) == 1:
            append, message, _ = entries[0]
            append.refused.append(message)
            append.settle(1)
            return False
        middle = len(entries) // 2
        first, second = entries[:middle], entries[middle:]
        taken = [
            await self._write(producer, first, behind=(*second, *behind)),
            await self._write(producer, second, behind=behind),
        ]
        if all(taken):  # it was their sum: this topic's max.message.bytes is lower than [kafka] says
            self._limit = sum(entry[2] for entry in entries) // 2
        return all(taken)


class _Open:
    """A batch that has its first entries and takes more, until Kafka's client takes it or it is full."""

    def __init__(self, batch: Batch, entries: list[Entry], limit: int) -> None:
        self.batch = batch
        self._entries = entries
        self._room = limit - sum([entry[2] for entry in entries])
        for entry in entries:
            if not self._added(entry):
                raise LogError("a batch is full before its bound")

    def take(self, entries: Sequence[Entry]) -> int:
        """How many of them, from the first one on, are in it now."""
        for number, entry in enumerate(entries):
            if entry[2] > self._room or not self._added(entry):
                return number
            self._room -= entry[2]
            self._entries.append(entry)
        return len(entries)

    def _added(self, entry: Entry) -> bool:
        append, message, _ = entry
        headers = list(message.headers)
        added = self.batch.append(timestamp=append.time, key=message.key, value=message.value, headers=headers)
        return added is not None


def _fail(entries: Iterable[Entry], error: LogError) -> None:
    for append, _, _ in entries:
        append.fail(error)
