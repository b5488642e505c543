"""Copying into Kafka: messages of another log, to given partitions, in order and once each."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stream import topics
from stream.log.kafka import Kafka, translated
from stream.log.kafka_client import Batch, Producer
from stream.message import Delivery, Partition

_PATIENCE_S = 30.0


class KafkaCopier:
    """See stream.moving.Copier. Keeps the times of the old log as the records' own (CreateTime)."""

    def __init__(self, kafka: Kafka, producer: Producer) -> None:
        self._kafka = kafka
        self._producer = producer

    @classmethod
    @asynccontextmanager
    async def open(cls, kafka: Kafka) -> "AsyncIterator[KafkaCopier]":
        """Raises LogUnavailable and LogRefused."""
        called = [kafka.called(topic) for topic in topics.ALL]
        async with kafka.producer(called, lambda partitions: None, _PATIENCE_S, once=True) as producer:
            yield cls(kafka, producer)

    async def copy(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        """Raises LogError: then some of them may be there, and the partition's end says how many."""
        batch = self._producer.create_batch()
        for delivery in deliveries:
            if not _added(batch, delivery):
                await self._send(batch, partition)
                batch = self._producer.create_batch()
                _added(batch, delivery)  # the first one goes into a batch at any size
        await self._send(batch, partition)

    async def _send(self, batch: Batch, partition: Partition) -> None:
        with translated(f"copying {partition.topic}/{partition.number}"):
            called = self._kafka.called(partition.topic)
            await (await self._producer.send_batch(batch, called, partition=partition.number))


def _added(batch: Batch, delivery: Delivery) -> bool:
    message, time = delivery.message, int(delivery.time * 1000)
    added = batch.append(timestamp=time, key=message.key, value=message.value, headers=list(message.headers))
    return added is not None
