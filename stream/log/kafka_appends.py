"""Appending to Kafka: which pump each message goes to, what is too much, and how long anybody waits."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from stream.errors import ConfigError, LogError, LogFull, LogRefused, LogUnavailable
from stream.log.kafka import Kafka
from stream.log.kafka_client import Partitions, TopicPartition
from stream.log.kafka_pool import Channel
from stream.log.kafka_pump import Append, Entry, Pump, Tally, size_of
from stream.log.partitioner import partition_of
from stream.message import Message

_DRAIN_S = 10.0  # for what is queued, when it is closed


class KafkaAppends:
    """Waits at most `append_timeout_s` for the brokers. Then *everything* that waits fails, in the order of its
    appends: who keeps it elsewhere keeps that order, and nothing of it is overtaken by what comes later. The producers
    are replaced: what they held may have arrived, but arrives no more once something else is on its way."""

    def __init__(self, kafka: Kafka, topics: Collection[str], clock: Callable[[], float], queue_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._kafka = kafka
        self._clock = clock
        self._queue_bytes = queue_bytes
        self._largest = kafka.config.max_message_bytes
        self._patience = kafka.config.append_timeout_s
        self._called = {topic: kafka.called(topic) for topic in topics}
        self._known: dict[Channel, Partitions] = {}  # what each producer knows of the topics
        self._pumps: dict[str, list[Pump]] = {topic: [] for topic in topics}  # by partition
        self._open: deque[Append] = deque()  # the oldest first
        self._alarm: asyncio.TimerHandle | None = None
        self._tally = Tally()
        self._closed = False
        called = tuple(self._called.values())
        self._channels = [Channel(kafka, called, self._heard) for _ in range(kafka.config.producers)]

    @classmethod
    @asynccontextmanager
    async def open(
        cls, kafka: Kafka, topics: Collection[str], clock: Callable[[], float], queue_bytes: int
    ) -> "AsyncIterator[KafkaAppends]":
        """Brokers that are away are waited for by the appends; raises LogRefused if they do not let us in, ConfigError
        if one of the topics is not there.

        Closing writes what is queued, for at most 10 s; what is left then raises LogUnavailable."""
        appends = KafkaAppends(kafka, topics, clock, queue_bytes)
        tasks = [asyncio.create_task(channel.run()) for channel in appends._channels]
        try:
            await asyncio.gather(*(channel.tried.wait() for channel in appends._channels))
            appends._check_found()
            yield appends
        finally:
            await appends._close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def queued_bytes(self) -> int:
        """What waits to be written, or is being written."""
        return self._tally.queued_bytes

    @property
    def messages(self) -> int:
        """How many have become durable since it was opened."""
        return self._tally.messages

    async def append(self, messages: Sequence[Message]) -> None:
        """See Log. Raises TooLarge for messages that Kafka refuses by themselves, once all the others are durable."""
        self._check_open()
        loop = self._loop
        append = Append(loop.time(), int(self._clock() * 1000), loop.create_future())
        placed, size = self._placed(append, messages)
        if append.left == 0:
            append.settle(0)
            return await append.done
        queued = self._tally.queued_bytes
        if queued and queued + size > self._queue_bytes:
            raise LogFull(f"{queued} bytes wait to be written, {size} more would pass the bound of {self._queue_bytes}")
        self._tally.queued_bytes += size
        for pump, entries in placed.items():
            pump.put(entries)
        self._watch(append)
        await append.done

    async def trouble(self) -> str | None:
        """Why nothing can be appended now; None if something can. After a failure the brokers are asked anew at each
        call: nobody sends events to a receiver that is not ready, so no append would tell that they are back."""
        if missing := self._missing():
            return missing
        if self._known and self._tally.failure is None and not self._tally.late:
            return None
        self._tally.late = False
        self._tally.failure = await self._kafka.trouble(self._patience)
        return None if self._tally.failure is None else str(self._tally.failure)

    def _placed(self, append: Append, messages: Sequence[Message]) -> tuple[dict[Pump, list[Entry]], int]:
        placed: dict[Pump, list[Entry]] = {}
        total = 0
        for message in messages:
            pumps = self._pumps.get(message.topic)
            if not pumps:
                raise self._nowhere(message.topic)
            size = size_of(message)
            if size > self._largest:
                append.refused.append(message)
                continue
            total += size
            append.left += 1
            placed.setdefault(pumps[partition_of(message.key, len(pumps))], []).append((append, message, size))
        return placed, total

    def _nowhere(self, topic: str) -> LogError:
        if topic not in self._pumps:
            return LogError(f"Kafka was not opened for a topic {topic!r}: nothing of this append was kept")
        return LogUnavailable(self._missing() or "Kafka is away: which partitions there are is not known yet")

    def _watch(self, append: Append) -> None:
        """From now on it is one of those that fail together."""
        while self._open and self._open[0].done.done():
            self._open.popleft()
        self._open.append(append)
        if self._alarm is None:
            self._alarm = self._loop.call_at(append.begun + self._patience, self._overdue)

    def _overdue(self) -> None:
        self._alarm = None
        while self._open and self._open[0].done.done():
            self._open.popleft()
        if not self._open:
            return
        due = self._open[0].begun + self._patience
        if due > self._loop.time():
            self._alarm = self._loop.call_at(due, self._overdue)
        else:
            self._tally.late = True
            self._give_up(f"Kafka acknowledged nothing for {self._patience:g} s")

    def _give_up(self, why: str) -> None:
        reasons = (self._tally.failure, *(channel.failure for channel in self._channels))
        known = next((f"; {reason}" for reason in reasons if reason), "")
        failure = LogUnavailable(why + known)
        while self._open:
            self._open.popleft().fail(failure)
        for pump in self._every_pump:
            pump.give_up()
        for channel in self._channels:
            channel.replace()

    @property
    def _every_pump(self) -> list[Pump]:
        return [pump for pumps in self._pumps.values() for pump in pumps]

    def _heard(self, channel: Channel, partitions: Partitions) -> None:
        """A producer looked at the topics. A partition counts from when all of them know it."""
        self._known[channel] = partitions
        for topic, called in self._called.items():
            count = min(known[called] for known in self._known.values())
            pumps = self._pumps[topic]
            for pump in pumps[count:]:
                pump.close(LogUnavailable(f"{called} has lost partitions"))
            self._pumps[topic] = pumps[:count] + [self._pump(called, number) for number in range(len(pumps), count)]

    def _pump(self, called: str, number: int) -> Pump:
        """A partition stays with one producer: its batches follow each other."""
        channel = self._channels[number % len(self._channels)]
        return Pump(self._kafka, channel, TopicPartition(called, number), self._tally)

    def _missing(self) -> str | None:
        if not self._known:
            return None
        missing = sorted(called for topic, called in self._called.items() if not self._pumps[topic])
        return (
            f"Kafka has no topic {', '.join(missing)}: stream topics create makes what is missing" if missing else None
        )

    def _check_found(self) -> None:
        for channel in self._channels:
            if isinstance(channel.failure, LogRefused):
                raise channel.failure
        if missing := self._missing():
            raise ConfigError(missing)

    def _check_open(self) -> None:
        if self._closed:
            raise LogError("the log on Kafka is closed")

    async def _close(self) -> None:
        self._closed = True
        if waiting := [append.done for append in self._open if not append.done.done()]:
            await asyncio.wait(waiting, timeout=_DRAIN_S)
        self._give_up("the log was closed")
        if self._alarm is not None:
            self._alarm.cancel()
        for pump in self._every_pump:
            pump.close(LogUnavailable("the log was closed"))
