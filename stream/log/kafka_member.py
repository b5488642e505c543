"""One member of a group on Kafka: what it owns now, and its callbacks."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from stream.errors import LogError, PositionLost
from stream.log import OnAssign, OnRevoke
from stream.log.kafka import ConsumerRebalanceListener
from stream.log.kafka_client import Consumer, TopicPartition
from stream.log.kafka_lookup import Lookup
from stream.message import Partition
from stream.outage import outlast

MISSING_S = 10  # a topic that the brokers have not heard of for so long was deleted


def made_again(topic: str) -> PositionLost:
    """Offsets of it mean other messages now."""
    return PositionLost(f"{topic} was deleted and made again while it was read. See stream positions show")


def deleted(topics: Iterable[str]) -> PositionLost:
    """There is nothing to read any more."""
    return PositionLost(f"{', '.join(sorted(topics))} was deleted while it was read. See stream topics show")


class Owned(Mapping[Partition, int]):
    """What a member was assigned, with the offsets where it starts; every assignment is another object. `identities`:
    which very topics these are."""

    def __init__(self, consumer: Consumer, starts: Mapping[Partition, int], identities: Mapping[str, str]) -> None:
        self.consumer = consumer
        self.identities = identities
        self._starts = starts

    def __getitem__(self, partition: Partition) -> int:
        return self._starts[partition]

    def __iter__(self) -> Any:
        return iter(self._starts)

    def __len__(self) -> int:
        return len(self._starts)


class Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears from Kafka's client what it is assigned and what is revoked, and from the watchdog which client that is.

    What is assigned is taken in a task of its own, since the client sends no heartbeat while it waits for that; a
    revocation cuts it off. What is revoked is let go before the client goes on: so nobody else has it yet, unless that
    takes longer than the brokers wait."""

    def __init__(self, group: str, alone: bool, lookup: Lookup, on_assign: OnAssign, on_revoke: OnRevoke) -> None:
        self.group = group
        self.alone = alone  # it has all partitions, and Kafka knows of no group
        self.owned: Owned | None = None  # None while it owns nothing yet or no more
        self.error: BaseException | None = None  # what a callback raised; such a member is assigned nothing more
        self.told = False  # the error has been raised to it
        self.changed = asyncio.Event()
        self.broken = asyncio.Event()  # its consumer is to be replaced
        self.why = ""
        self._lookup = lookup
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._consumer: Consumer | None = None
        self._topics: Collection[str] = ()
        self._partitions: tuple[Partition, ...] = ()  # on_assign was called with these, on_revoke was not
        self._taking: asyncio.Task[None] | None = None
        self._leaving = asyncio.Lock()
        self._seen: Mapping[str, str] = {}

    async def join(self, consumer: Consumer, topics: Collection[str]) -> None:
        """Joins the group with this client."""
        self.broken.clear()
        self._consumer, self._topics = consumer, topics
        if self.alone:
            partitions = await outlast(lambda: self._lookup.partitions(topics), self.group)
            places = [self._lookup.place(partition) for partition in partitions]
            consumer.assign(places)
            await self.on_partitions_assigned(places)
        else:
            consumer.subscribe([self._lookup.kafka.called(topic) for topic in topics], listener=self)

    @property
    def calling(self) -> bool:
        """Does a callback run?"""
        return self._leaving.locked() or (self._taking is not None and not self._taking.done())

    async def leave(self) -> None:
        """Returns when on_revoke has returned. Nothing is assigned by this client any more."""
        self._consumer = None
        await self._let_go()

    def check(self) -> None:
        """Raises what a callback of this member raised."""
        if self.error is not None:
            self.told = True
            raise self.error

    def fail(self, error: BaseException) -> None:
        """Its fetch raises this."""
        self.error = error
        self.changed.set()

    def give_up(self, why: str) -> None:
        """Its consumer is of no more use."""
        self.why = why
        self.broken.set()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Called by Kafka's client before the partitions go, if it is not too late."""
        await self._let_go()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Called by Kafka's client after each rebalance."""
        consumer = self._consumer
        if consumer is None or self.error is not None:
            return
        consumer.pause(*assigned)  # until it is known where to start
        self._taking = asyncio.create_task(self._take(consumer, assigned))

    async def _let_go(self) -> None:
        self.owned = None  # before anything is waited for: nothing of it is fetched from now on
        self.changed.set()
        if self._taking is not None:
            self._taking.cancel()
        async with self._leaving:
            if self._taking is not None:
                await asyncio.wait([self._taking])
                self._taking = None
            partitions, self._partitions = self._partitions, ()
            if partitions:
                try:
                    await self._on_revoke(partitions)
                except Exception as error:  # the client would only log it
                    self.fail(error)

    async def _take(self, consumer: Consumer, assigned: Collection[TopicPartition]) -> None:
        try:
            places = {place: self._partition(place) for place in sorted(assigned)}
            identities = await self._identities()
            starts = await self._starts(tuple(places.values()))
            for place, partition in places.items():
                consumer.seek(place, starts[partition])
            consumer.resume(*places)
            self.owned = Owned(consumer, starts, identities)
            self.changed.set()
        except Exception as error:
            self._partitions = ()
            self.fail(error)

    async def _identities(self) -> Mapping[str, str]:
        """Which very topics these are. Raises PositionLost if they are others than before."""
        for _ in range(MISSING_S):
            found = await outlast(lambda: self._lookup.identities(self._topics), self.group)
            for topic in self._seen.keys() & found.keys():
                if self._seen[topic] != found[topic]:
                    raise made_again(topic)
            if len(found) == len(self._topics):
                self._seen = found
                return found
            await asyncio.sleep(1.0)
        raise deleted(topic for topic in self._topics if topic not in found)

    async def _starts(self, partitions: tuple[Partition, ...]) -> Mapping[Partition, int]:
        if not partitions:
            return {}
        self._partitions = partitions
        starts = await self._on_assign(partitions)
        if missing := [partition for partition in partitions if partition not in starts]:
            raise LogError(f"on_assign gave no position for {', '.join(f'{p.topic}/{p.number}' for p in missing)}")
        return {partition: starts[partition] for partition in partitions}

    def _partition(self, place: TopicPartition) -> Partition:
        return Partition(self._lookup.kafka.topic(place.topic), place.partition)
