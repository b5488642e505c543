"""Moving: the embedded log onto Kafka, message for message, so that every position can go with it.

Each partition goes to the one of the same number, in order, and nobody else writes there meanwhile: so every old offset
becomes a new one by one shift, and a move that was cut off sees at the new log's end how much of it is there.
"""

import asyncio
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from stream import topics
from stream.errors import StreamError
from stream.log import Log
from stream.message import Delivery, Partition

_FETCH = 2_000
_COMPACTED = {topics.PERSON_PROFILE}  # Kafka may have dropped older values of a key by the time they are compared


class CannotMove(StreamError):
    """The new log or store is not fit to be moved to. Nothing was moved, or what was moved stays for another try."""


class Part(Struct, frozen=True):
    """One partition. The old log holds `first` to `end`; what was moved of it lies at `begin` to `there` in the new."""

    partition: Partition
    first: int
    end: int
    begin: int
    there: int

    @property
    def shift(self) -> int:
        """What makes a new offset of an old one."""
        return self.begin - self.first

    @property
    def left(self) -> int:
        """How many messages have still to be moved."""
        return self.end - self.first - (self.there - self.begin)


class Copier(Protocol):
    """Writes into the new log."""

    async def copy(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        """Appends to this very partition, in order, once each, with the times of the old log; returns once durable."""
        ...


async def plan(old: Log, new: Log, begun: Mapping[Partition, int], names: Collection[str] = topics.ALL) -> list[Part]:
    """What is to be moved of the topics of these `names`. `begun`: where each partition begins in the new log, if a
    move was begun before. Raises CannotMove where the new log is not fit for it."""
    ours, theirs = await old.bounds(names), await new.bounds(names)
    if problems := [*_counts(ours, theirs)]:
        raise CannotMove("; ".join(problems))
    parts = [
        Part(partition, *ours[partition], begun.get(partition, theirs[partition][0]), theirs[partition][1])
        for partition in sorted(ours)
    ]
    for part in parts:
        name = f"{part.partition.topic}/{part.partition.number}"
        if part.partition not in begun and part.there != part.begin:
            raise CannotMove(f"{name} already holds {part.there - part.begin} messages there: it must be empty")
        if part.left < 0:
            raise CannotMove(f"{name} holds {-part.left} messages more than were moved: somebody else writes there")
    return parts


async def copy(old: Log, copier: Copier, parts: Iterable[Part], moved: Callable[[int], None]) -> None:
    """Moves what is left; `moved` hears how many messages, as they become durable."""
    by_topic: dict[str, list[Part]] = {}
    for part in parts:
        if part.left:
            by_topic.setdefault(part.partition.topic, []).append(part)
    for topic, some in by_topic.items():
        await _copy_topic(old, copier, topic, some, moved)


async def verify(old: Log, new: Log, parts: Iterable[Part], compared: Callable[[int], None]) -> None:
    """Reads both logs and compares keys, bytes and headers of every partition. Raises CannotMove where they differ."""
    every = {part.partition: part for part in parts if part.partition.topic not in _COMPACTED}
    for topic in sorted({partition.topic for partition in every}):
        mine = {partition: part for partition, part in every.items() if partition.topic == topic}
        before = await _sums(old, topic, {p: (part.first, part.end) for p, part in mine.items()}, compared)
        spans = {p: (part.begin, part.begin + part.end - part.first) for p, part in mine.items()}
        after = await _sums(new, topic, spans, compared)
        for partition in mine:
            if before.get(partition) != after.get(partition):
                raise CannotMove(
                    f"{topic}/{partition.number} is not the same there as it was: make the topic anew, and move again"
                )


def amount(parts: Collection[Part]) -> int:
    """How many messages the old log holds."""
    return sum(part.end - part.first for part in parts)


def _counts(ours: Mapping[Partition, object], theirs: Mapping[Partition, object]) -> Iterable[str]:
    for topic in sorted({partition.topic for partition in ours}):
        here = sum(partition.topic == topic for partition in ours)
        there = sum(partition.topic == topic for partition in theirs)
        if here != there:
            yield (
                f"{topic} has {there} partitions there and {here} here, and a key must stay in its partition: set [log]"
                f" partitions = {here} and `stream topics create`"
            )


async def _copy_topic(
    old: Log, copier: Copier, topic: str, parts: Sequence[Part], moved: Callable[[int], None]
) -> None:
    starts = {part.partition: part.end - part.left for part in parts}
    ends = {part.partition: part.end for part in parts}

    async def start(partitions: Collection[Partition]) -> Mapping[Partition, int]:
        whole = await old.bounds([topic])
        return {p: starts.get(p, whole[p][1]) for p in partitions}

    async def stop(partitions: Collection[Partition]) -> None:
        pass

    until = {p: ends.get(p, end) for p, (_, end) in (await old.bounds([topic])).items()}
    async with old.consume("move", [topic], start, stop, until) as cursor:
        while True:
            try:
                deliveries = await cursor.fetch(_FETCH)
            except StopAsyncIteration:
                return
            await asyncio.gather(*(copier.copy(p, some) for p, some in _by_partition(deliveries).items()))
            moved(len(deliveries))


def _by_partition(deliveries: Iterable[Delivery]) -> dict[Partition, list[Delivery]]:
    found: dict[Partition, list[Delivery]] = {}
    for delivery in deliveries:
        found.setdefault(delivery.partition, []).append(delivery)
    return found


async def _sums(
    log: Log, topic: str, spans: Mapping[Partition, tuple[int, int]], compared: Callable[[int], None]
) -> dict[Partition, tuple[int, int]]:
    """Of each partition's span: how many messages, and a checksum of them in order."""
    found: dict[Partition, tuple[int, int]] = {}
    async for delivery in log.read(topic):
        first, end = spans[delivery.partition]
        if first <= delivery.offset < end:
            number, total = found.get(delivery.partition, (0, 0))
            found[delivery.partition] = (number + 1, _summed(delivery, total))
            compared(1)
    return found


def _summed(delivery: Delivery, total: int) -> int:
    message = delivery.message
    parts = [message.key, message.value or b"", b"\1" if message.value is None else b"\0"]
    parts += [part for name, value in message.headers for part in (name.encode(), value)]
    for part in parts:
        total = zlib.crc32(part, zlib.crc32(len(part).to_bytes(4, "big"), total))
    return total
