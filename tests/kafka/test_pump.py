"""One partition as it is written, where the brokers refuse and fail in turn."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from stream.errors import LogUnavailable
from stream.log.kafka_client import TopicPartition
from stream.log.kafka_pump import Append, Pump, Tally, size_of
from stream.message import Message


class Batch:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, value: bytes, **more: Any) -> object:
        self.values.append(value)
        return more


class Producer:
    """Its topic takes two messages in a batch. The first that it would take fails."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.fails = True
        self._message_accumulator = SimpleNamespace(_exception=None)

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(batch.values) > 2:
            done.set_exception(MessageSizeTooLargeError())
        elif self.fails:
            self.fails = False
            done.set_exception(KafkaConnectionError("away"))
        else:
            self.written += batch.values
            done.set_result(None)
        return done


async def test_where_the_first_half_of_a_batch_fails_the_second_does_not_overtake_it() -> None:
    producer, loop = Producer(), asyncio.get_running_loop()

    async def there() -> Producer:
        return producer

    channel: Any = SimpleNamespace(producer=there)
    kafka: Any = SimpleNamespace(batch_bytes=10_000)
    pump = Pump(kafka, channel, TopicPartition("t", 0), Tally())
    messages = [Message("t", b"ada", b"%d" % n) for n in range(4)]
    appends = [Append(0.0, 0, loop.create_future()) for _ in messages]
    for append, message in zip(appends, messages, strict=True):
        append.left = 1
        pump.put([(append, message, size_of(message))])
    ended = await asyncio.gather(*(append.done for append in appends), return_exceptions=True)
    assert [type(error) for error in ended] == [LogUnavailable] * 4
    assert producer.written == []
    pump.close(LogUnavailable("the end"))
