"""What can be asked of Kafka beside producing and consuming: which topics there are, where they begin and end."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from stream.errors import LogError, LogRefused, LogUnavailable
from stream.log.kafka import Kafka, TopicPartition, translated
from stream.log.kafka_client import Consumer
from stream.log.kafka_wire import Cluster, Found, Look
from stream.message import Partition

T = TypeVar("T")

_PATIENCE_S = 10.0


async def asked(client: Any, request: Any) -> Any:
    """What a broker answers to a request of ours, which may be repeated. `client`: a consumer or an admin."""
    for _ in range(2):  # one broker of several may be away
        with suppress(LogUnavailable), translated("asking"):
            return await client._client.send(client._client.get_random_node(), request)
    return await client._client.send(client._client.get_random_node(), request)


async def look(client: Any, names: Collection[str]) -> Cluster:
    """The cluster, and those of these topics that exist. Raises LogRefused where this user may not see one."""
    with translated("which topics there are"):
        found: Cluster = await asked(client, Look(sorted(names)))
    if found.hidden:
        raise LogRefused(
            f"Kafka: this user may not see {', '.join(found.hidden)}; the cluster's administrator can allow it"
        )
    return found


class Lookup:
    """Asks over one connection, opened when first needed. Raises LogUnavailable while no broker answers."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self._opened: tuple[AsyncExitStack, Consumer] | None = None
        self._asking = asyncio.Lock()  # two that connect at once would leave a connection behind, in this client
        self._closed = False

    async def cluster(self, topics: Collection[str]) -> Cluster:
        """The cluster, and those of our topics that exist, by our names. Raises LogRefused where we may not see one."""
        names = [self.kafka.called(topic) for topic in topics]
        found = await self.ask("which topics there are", lambda client: look(client, names))
        there = {self.kafka.topic(called): one for called, one in found.topics.items()}
        return Cluster(found.id, found.brokers, there, ())

    async def topics(self, topics: Collection[str]) -> Mapping[str, Found]:
        """Each topic. Raises LogError where one does not exist."""
        found = (await self.cluster(topics)).topics
        if missing := sorted(self.kafka.called(topic) for topic in topics if topic not in found):
            raise LogError(f"Kafka has no topic {', '.join(missing)}: see stream topics create")
        return found

    async def identities(self, topics: Collection[str]) -> dict[str, str]:
        """See Log."""
        found = await self.cluster(topics)
        return {topic: f"{found.id}/{one.id}" for topic, one in found.topics.items()}

    async def bounds(
        self, partitions: Collection[Partition], at: float | None = None
    ) -> dict[Partition, tuple[int, int]]:
        """See Log.bounds."""
        places = {self.place(partition): partition for partition in partitions}
        firsts = await self.ask("where topics begin", lambda client: client.beginning_offsets(list(places)))
        nexts = await self.ask("where topics end", lambda client: client.end_offsets(list(places)))
        if at is not None:
            times = dict.fromkeys(places, max(0, int(at * 1000)))
            found = await self.ask("what was taken when", lambda client: client.offsets_for_times(times))
            nexts |= {place: one.offset for place, one in found.items() if one is not None}
        return {partition: (firsts[place], nexts[place]) for place, partition in places.items()}

    async def partitions(self, topics: Collection[str]) -> list[Partition]:
        """All partitions of these topics. Raises LogError where one does not exist."""
        found = await self.topics(topics)
        return [Partition(topic, number) for topic in topics for number in sorted(found[topic].copies)]

    def place(self, partition: Partition) -> TopicPartition:
        """How Kafka's client calls it."""
        return TopicPartition(self.kafka.called(partition.topic), partition.number)

    async def ask(self, doing: str, question: Callable[[Consumer], Awaitable[T]]) -> T:
        """The answer to a question over this connection."""
        try:
            async with asyncio.timeout(_PATIENCE_S), self._asking:
                client = await self._client()
                with translated(doing):
                    return await question(client)
        except TimeoutError:
            raise LogUnavailable(f"Kafka, {doing}: no answer within {_PATIENCE_S:.0f} s") from None

    async def close(self) -> None:
        """Nothing can be asked any more."""
        self._closed = True
        async with self._asking:
            if self._opened is not None:
                await self._opened[0].aclose()

    async def _client(self) -> Consumer:
        if self._closed:
            raise LogError(f"the log at {', '.join(self.kafka.brokers)} is closed")
        if self._opened is None:
            async with AsyncExitStack() as stack:
                consumer = await stack.enter_async_context(self.kafka.consumer())
                self._opened = stack.pop_all(), consumer
        return self._opened[1]
