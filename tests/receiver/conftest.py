"""A receiver as `stream run` has it: real sockets, a real log; in tmp_path, unless a test has another one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from prometheus_client import CollectorRegistry

from stream import topics
from stream.config import Config
from stream.log import Running
from stream.log.sqlite import SqliteLog
from stream.message import Message
from stream.receiver import application, listening
from stream.telemetry import Metrics

NOW = 1_700_000_000.0


class Receiver:
    """A running receiver: what it answers, and what lies in its log."""

    def __init__(self, log: Running, client: ClientSession, port: int, metrics: Metrics) -> None:
        self.log, self.client, self.port, self.metrics = log, client, port, metrics
        self.not_ready: str | None = None

    async def post(self, path: str, body: bytes, **more: Any) -> tuple[int, Any]:
        """Status and JSON of the answer to a POST of these bytes."""
        response = await self.send("POST", path, data=BytesIO(body), **more)
        return response.status, await response.json()

    async def send(self, method: str, path: str, **more: Any) -> ClientResponse:
        """Any request. Its body is read."""
        response = await self.client.request(method, f"http://127.0.0.1:{self.port}{path}", **more)
        await response.read()
        return response

    async def kept(self) -> list[tuple[str, bytes | None]]:
        """Topic and bytes of all that is in the log; within a topic in the order of arrival of one key."""
        return [(message.topic, message.value) for message in await self.messages()]

    async def messages(self) -> list[Message]:
        """All that is in the log."""
        return [delivery.message for topic in topics.ALL async for delivery in self.log.read(topic)]

    async def reasons(self) -> list[str]:
        """Why each message in segment.invalid is there."""
        return [dict(delivery.message.headers)["reason"].decode() async for delivery in self.log.read(topics.INVALID)]

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of a metric now."""
        return self.metrics.registry.get_sample_value(name, labels)


async def until(condition: Callable[[], object]) -> None:
    """Returns once this is so: of what happens on this loop, and tells nobody."""
    while not condition():
        await asyncio.sleep(0)


Start = Callable[..., Awaitable[Receiver]]
OpenLog = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def open_log(tmp_path: Path) -> OpenLog:
    """What a receiver appends to: `open_log(queue_bytes=…)`."""
    return lambda **more: SqliteLog.open(tmp_path / "log.db", partitions=4, clock=lambda: NOW, **more)


@pytest.fixture
async def start(open_log: OpenLog) -> AsyncIterator[Start]:
    """Starts a receiver: `await start(Config(…), queue_bytes=…)`."""
    async with AsyncExitStack() as stack:

        async def start(config: Config | None = None, **more: Any) -> Receiver:
            log = await stack.enter_async_context(open_log(**more))
            metrics = Metrics(CollectorRegistry())

            async def ready() -> str | None:
                return receiver.not_ready

            app = application(config or Config(), log, clock=lambda: NOW, ready=ready, metrics=metrics)
            port = await stack.enter_async_context(listening(app, "127.0.0.1", 0))
            client = await stack.enter_async_context(ClientSession())
            receiver = Receiver(log, client, port, metrics)
            return receiver

        yield start


@pytest.fixture
async def receiver(start: Start) -> Receiver:
    """A receiver without any configuration."""
    return await start()
