"""The log on Kafka as any process may read and consume it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from stream.errors import LogError, LogUnavailable
from stream.log import Cursor, OnAssign, OnRevoke
from stream.log.kafka import Kafka, out_of_range, translated
from stream.log.kafka_client import Consumer, Record, TopicPartition
from stream.log.kafka_cursor import KafkaCursor, delivered
from stream.log.kafka_lookup import Lookup
from stream.log.kafka_member import Member
from stream.log.kafka_watchdog import PATIENCE, Patience, Watchdog
from stream.message import Delivery, Message, Partition

_READ_BYTES = 8 * 1024 * 1024
_PAGE = 1_000
_PAGE_S = 1.0
_SILENT_S = 30.0  # a broker that is away raises nothing
_SLACK_S = 300.0
"""Times are the producers'. How far one of several may be behind another, in one partition."""


class KafkaHistory:
    """See Log, but that it appends nothing, and that its members are each alone: Kafka hears of no group of them."""

    alone = True

    def __init__(self, kafka: Kafka, lookup: Lookup, patience: Patience) -> None:
        self._kafka = kafka
        self._lookup = lookup
        self._patience = patience

    @classmethod
    @asynccontextmanager
    async def open_readonly(cls, kafka: Kafka, *, patience: Patience = PATIENCE) -> "AsyncIterator[KafkaHistory]":
        """Connects when it is first asked for something."""
        lookup = Lookup(kafka)
        try:
            yield KafkaHistory(kafka, lookup, patience)
        finally:
            await lookup.close()

    async def append(self, messages: Sequence[Message]) -> None:
        """Raises LogError: this process only reads."""
        raise LogError(f"the log at {', '.join(self._kafka.brokers)} was opened for reading only")

    async def identities(self, topics: Collection[str]) -> Mapping[str, str]:
        """See Log."""
        return await self._lookup.identities(topics)

    @asynccontextmanager
    async def consume(
        self,
        group: str,
        topics: Collection[str],
        on_assign: OnAssign,
        on_revoke: OnRevoke,
        until: Mapping[Partition, int] | None = None,
    ) -> AsyncIterator[Cursor]:
        """See Log. While no broker answers, the member owns nothing, or fetches nothing."""
        member = Member(group, self.alone, self._lookup, on_assign, on_revoke)
        cursor = KafkaCursor(member, self._lookup, until, self._patience.fetch)
        watching = asyncio.create_task(Watchdog(member, cursor, self._lookup, self._patience).run(topics))
        watching.add_done_callback(lambda done: _ended(done, member))
        try:
            yield cursor
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        if not member.told:
            member.check()

    async def read(self, topic: str, since: float = 0.0, until: float | None = None) -> AsyncIterator[Delivery]:
        """See Log. A partition after another, a page of each in turn. Where producers' clocks differ by more than five
        minutes, what is older than `until` may be missed."""
        partitions = await self._lookup.partitions([topic])
        ends = await self._lookup.bounds(partitions, None if until is None else until + _SLACK_S)
        starts = await self._lookup.bounds(partitions, since)
        left = {p: ends[p][1] for p in partitions if starts[p][1] < ends[p][1]}
        if not left:
            return
        async with self._kafka.consumer(fetch_max_bytes=_READ_BYTES) as consumer:
            places = {self._lookup.place(partition): partition for partition in left}
            consumer.assign(list(places))
            for place, partition in places.items():
                consumer.seek(place, starts[partition][1])
            async for delivery in self._pages(consumer, places, left):
                if delivery.time >= since and (until is None or delivery.time < until):
                    yield delivery

    async def _pages(
        self, consumer: Consumer, places: Mapping[TopicPartition, Partition], left: dict[Partition, int]
    ) -> AsyncIterator[Delivery]:
        """What lies before the offsets in `left`."""
        silent = 0
        while left:
            page = await self._page(consumer)
            silent = 0 if page else silent + 1
            if silent * _PAGE_S > _SILENT_S:
                raise LogUnavailable(f"Kafka, reading: nothing came for {_SILENT_S:.0f} s")
            for place, records in page.items():
                partition = places[place]
                for record in records:
                    if record.offset < left.get(partition, 0):
                        yield delivered(record, partition)
            for place, partition in places.items():
                if partition in left and await consumer.position(place) >= left[partition]:
                    del left[partition]
                    consumer.pause(place)

    async def _page(self, consumer: Consumer) -> Mapping[TopicPartition, Sequence[Record]]:
        try:
            with translated("reading"):
                return await consumer.getmany(timeout_ms=int(_PAGE_S * 1000), max_records=_PAGE)
        except LogError as error:
            gone = out_of_range(error)
            if gone is None:
                raise
            firsts = await self._lookup.ask("where topics begin", lambda client: client.beginning_offsets(list(gone)))
            for place, first in firsts.items():  # retention was faster
                consumer.seek(place, first)
            return {}

    async def bounds(self, topics: Collection[str], at: float | None = None) -> dict[Partition, tuple[int, int]]:
        """See Log."""
        return await self._lookup.bounds(await self._lookup.partitions(topics), at)


def _ended(watching: "asyncio.Task[None]", member: Member) -> None:
    """What broke the watchdog is its member's."""
    if not watching.cancelled() and (error := watching.exception()) is not None:
        member.fail(error)
