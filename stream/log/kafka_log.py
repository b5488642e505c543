"""The log on Kafka. See Log."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from stream.log.kafka import Kafka
from stream.log.kafka_appends import KafkaAppends
from stream.log.kafka_history import KafkaHistory
from stream.log.kafka_lookup import Lookup
from stream.log.kafka_watchdog import PATIENCE, Patience
from stream.message import Message


class KafkaLog(KafkaHistory):
    """The log as a process has it that appends, reads and consumes."""

    alone = False

    def __init__(self, appends: KafkaAppends, kafka: Kafka, lookup: Lookup, patience: Patience) -> None:
        super().__init__(kafka, lookup, patience)
        self._appends = appends

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        kafka: Kafka,
        topics: Collection[str],
        clock: Callable[[], float],
        *,
        queue_bytes: int = 64 * 1024 * 1024,
        patience: Patience = PATIENCE,
    ) -> "AsyncIterator[KafkaLog]":
        """Brokers that are away are waited for. Raises LogRefused if they do not let us in, ConfigError if one of the
        topics is not there."""
        lookup = Lookup(kafka)
        try:
            async with KafkaAppends.open(kafka, topics, clock, queue_bytes) as appends:
                yield KafkaLog(appends, kafka, lookup, patience)
        finally:
            await lookup.close()

    @property
    def queued_bytes(self) -> int:
        """What waits to be written, or is being written."""
        return self._appends.queued_bytes

    @property
    def appended_messages(self) -> int:
        """How many messages have become durable since it was opened."""
        return self._appends.messages

    async def append(self, messages: Sequence[Message]) -> None:
        """See Log. Raises TooLarge for messages that Kafka refuses by themselves, once all the others are durable."""
        await self._appends.append(messages)

    async def trouble(self) -> str | None:
        """Why nothing can be appended now; None if something can."""
        return await self._appends.trouble()
