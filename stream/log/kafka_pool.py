"""The producers of one process: a few, each replaced when it is beyond repair."""

import asyncio
from collections.abc import Callable, Sequence

from stream.errors import LogError
from stream.log.kafka import Kafka, ours
from stream.log.kafka_client import Partitions, Producer

REQUEST_S = 10.0  # a broker that answers nothing for so long is asked anew
_FIRST_S, _LONGEST_S = 0.1, 1.0  # between two tries to connect


class Channel:
    """One producer, kept open: `run` connects, and connects anew when it was replaced or no broker answers."""

    def __init__(self, kafka: Kafka, called: Sequence[str], heard: Callable[["Channel", Partitions], None]) -> None:
        self._kafka = kafka
        self._called = called
        self._heard = heard
        self._producer: asyncio.Future[Producer] = asyncio.get_running_loop().create_future()
        self._replace = asyncio.Event()
        self.tried = asyncio.Event()  # the first try to connect has ended
        self.failure: LogError | None = None  # of the last try

    async def producer(self) -> Producer:
        """The one there is, as soon as there is one."""
        return self._producer.result() if self._producer.done() else await asyncio.shield(self._producer)

    def replace(self, producer: Producer | None = None) -> None:
        """That one (the one there is) is beyond repair: what it holds fails, and another takes its place."""
        if self._producer.done() and producer in (None, self._producer.result()):
            self._producer = asyncio.get_running_loop().create_future()
            self._replace.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        wait = _FIRST_S
        while True:
            try:
                async with self._kafka.producer(self._called, self._changed, REQUEST_S) as producer:
                    self._replace.clear()
                    self._producer.set_result(producer)
                    self.failure = None
                    self.tried.set()
                    wait = _FIRST_S
                    await self._replace.wait()
            except Exception as error:  # the client's own mistakes, too: whoever waits is told, and it is tried again
                self.failure = ours(error, "connecting")
                self.tried.set()
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_S)

    def _changed(self, partitions: Partitions) -> None:
        self._heard(self, partitions)
