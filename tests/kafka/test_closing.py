"""How Kafka's clients are let go of."""

import asyncio

from stream.log.kafka_closing import leave


class Client:
    closed = False

    async def close(self) -> None:
        self.closed = True


class Fetcher:
    async def close(self) -> None:
        """As the client's own, whose requests sleep before they are repeated: then it raises CancelledError."""
        request = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        request.cancel()
        await request


class Consumer:
    def __init__(self) -> None:
        self._fetcher, self._client = Fetcher(), Client()

    async def stop(self) -> None:
        await self._fetcher.close()
        await self._client.close()


async def test_a_consumer_is_left_while_a_broker_is_away_and_whoever_leaves_it_goes_on() -> None:
    consumer = Consumer()
    leaving = asyncio.create_task(leave(consumer, ZeroDivisionError))
    await asyncio.wait([leaving])
    assert not leaving.cancelled() and leaving.exception() is None
    assert consumer._client.closed
