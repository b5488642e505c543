"""The logs that the contract is tested on, and the members that the tests send to them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from stream.log import Cursor, Log
from stream.log.kafka import Kafka
from stream.log.kafka_admin import Topic, create, delete, set_up
from stream.log.kafka_history import KafkaHistory
from stream.log.kafka_log import KafkaLog
from stream.log.kafka_watchdog import PATIENCE, Patience
from stream.log.sqlite import SqliteLog
from stream.message import Delivery, Message, Partition
from stream.places import KafkaConfig
from tests.disk import full_disk

TRACK, IDENTIFY = "segment.track", "segment.identify"
PARTITIONS = 4
_OLDEST = "message.timestamp.before.max.ms"


class Clock:
    """A time that the test sets."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Embedded:
    """The embedded log in a folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.path = folder / "log.db"

    def open(self, queue_bytes: int = 64 * 1024 * 1024, wait: float = 0.01) -> AbstractAsyncContextManager[SqliteLog]:
        return SqliteLog.open(
            self.path, partitions=PARTITIONS, clock=self.clock, queue_bytes=queue_bytes, wait=wait
        )  # fmt: skip

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Inside, nothing can be written."""
        with full_disk():
            yield

    async def replace(self) -> None:
        """Puts an empty log in its place."""
        for file in self.path.parent.glob(self.path.name + "*"):
            file.unlink()

    async def remove(self) -> None:
        """Its folder goes with the test."""


class OnKafka:
    """Topics of a test's own on a real Kafka."""

    def __init__(self, address: str, copies: int = 1, **more: Any) -> None:
        self._copies = copies
        prefix = f"test-{uuid.uuid4().hex[:12]}."
        self.clock = Clock()
        settings = {"session_timeout_s": 6.0, "append_timeout_s": 2.0, "max_message_bytes": 4_500_000, **more}
        self.config = KafkaConfig(group_prefix=prefix, **settings)
        names = {name: prefix + name for name in (TRACK, IDENTIFY)}
        self.kafka = Kafka(address.split(","), self.config, names, self.clock)

    @asynccontextmanager
    async def open(
        self, queue_bytes: int = 64 * 1024 * 1024, wait: float = 0.05, patience: Patience = PATIENCE
    ) -> AsyncIterator[KafkaLog]:
        await self.make()
        patience = structs.replace(patience, fetch=wait)
        opened = KafkaLog.open(self.kafka, (TRACK, IDENTIFY), self.clock, queue_bytes=queue_bytes, patience=patience)
        async with opened as log:
            yield log

    def reading(self) -> AbstractAsyncContextManager[KafkaHistory]:
        """As a process has it that only looks; needs no broker to be opened."""
        return KafkaHistory.open_readonly(self.kafka, patience=Patience(fetch=0.05))

    async def make(self) -> None:
        """Makes those topics that are not there. Nothing in them ages: the tests' times are of 1970."""
        kept = {"retention.ms": "-1", "max.message.bytes": "5000000"}
        topics = [Topic(self.kafka.called(topic), PARTITIONS, self._copies, kept) for topic in (TRACK, IDENTIFY)]
        async with self.kafka.admin() as admin:
            await create(admin, topics)

    async def remove(self) -> None:
        """Deletes the topics."""
        async with self.kafka.admin() as admin:
            await delete(admin, [self.kafka.called(topic) for topic in (TRACK, IDENTIFY)])

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Inside, nothing can be written: the broker refuses every message, as too old."""
        await self._accept("1000")
        try:
            yield
        finally:
            await self._accept("9223372036854775807")

    async def replace(self) -> None:
        """Puts empty topics in their place."""
        await self.remove()
        await self.make()

    async def _accept(self, age: str) -> None:
        called = [self.kafka.called(topic) for topic in (TRACK, IDENTIFY)]
        async with self.kafka.admin() as admin:
            for name in called:
                await set_up(admin, name, {_OLDEST: age})


Kind = Embedded | OnKafka
KINDS = ["sqlite", pytest.param("kafka", marks=pytest.mark.slow)]


def log_of(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """The log that a test's parameter names. (Not asked for in a loop: the broker may have to be started.)"""
    return Embedded(tmp_path) if request.param == "sqlite" else OnKafka(request.getfixturevalue("kafka"))


class Owner:
    """The callbacks of a member: it starts where `positions` say (at 0, where they say nothing), and owns what it was
    assigned until it was revoked. Owners that share `positions` and `owners` are one group, and check each other."""

    def __init__(
        self, positions: dict[Partition, int] | None = None, owners: dict[Partition, "Owner"] | None = None
    ) -> None:
        self.positions = {} if positions is None else positions
        self.owners = {} if owners is None else owners
        self.owned: set[Partition] = set()

    async def assign(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        for partition in partitions:
            assert partition not in self.owners, f"{partition} has two members"
            self.owners[partition] = self
        self.owned |= set(partitions)
        return {partition: self.positions.get(partition, 0) for partition in partitions}

    async def revoke(self, partitions: Collection[Partition]) -> None:
        assert self.owned == set(partitions)
        for partition in partitions:
            assert self.owners.pop(partition) is self
        self.owned.clear()

    def deal_with(self, deliveries: list[Delivery]) -> None:
        """Moves the positions, which must not leave out or repeat anything."""
        for delivery in deliveries:
            assert delivery.partition in self.owned
            assert delivery.offset == self.positions.get(delivery.partition, 0)
            self.positions[delivery.partition] = delivery.offset + 1


async def until(true: Callable[[], bool]) -> None:
    """Lets everything else run until it is true. Gives up after 20 s."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


def message(key: str, value: bytes | None = b"{}", topic: str = TRACK) -> Message:
    return Message(topic, key.encode(), value)


def joined(log: Log, owner: Owner, group: str = "g", topics: tuple[str, ...] = (TRACK,), **more: Any) -> Any:
    """The member of `owner`, joining."""
    return log.consume(group, topics, owner.assign, owner.revoke, **more)


async def fetched(cursor: Cursor, number: int, limit: int = 1000) -> list[Delivery]:
    """The next `number` deliveries, or more if they come in one fetch. Gives up after a hundred empty fetches."""
    found: list[Delivery] = []
    empty = 0
    while len(found) < number and empty < 100:
        some = await cursor.fetch(limit)
        empty += not some
        found += some
    return found


async def everything(log: Log, *topics: str) -> list[Delivery]:
    """What the log holds."""
    return [delivery for topic in topics or (TRACK,) async for delivery in log.read(topic)]
