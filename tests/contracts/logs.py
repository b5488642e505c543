"""The logs that the contract is tested on, and the members that the tests send to them."""

import asyncio
import resource
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

from stream.log import Cursor, Log
from stream.log.sqlite import SqliteLog
from stream.message import Delivery, Message, Partition

TRACK, IDENTIFY = "segment.track", "segment.identify"
PARTITIONS = 4


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

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Inside, nothing can be written: the operating system refuses every byte."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def replace(self) -> None:
        """Puts an empty log in its place."""
        for file in self.path.parent.glob(self.path.name + "*"):
            file.unlink()


KINDS: dict[str, Callable[[Path], Embedded]] = {"sqlite": Embedded}


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
    """Lets everything else run until it is true. Gives up after 5 s."""
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


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
