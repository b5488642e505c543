"""A log that can be away: the embedded one, which fails when it is told to, before or after it kept the messages."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from stream import topics
from stream.errors import LogError, LogFull, LogUnavailable, TooLarge
from stream.log.spill import Spill, Terms
from stream.log.sqlite import SqliteLog
from stream.message import Message
from stream.telemetry import Metrics

TRACK, IDENTIFY = topics.RAW["track"], topics.RAW["identify"]


class Away:
    """`mode`: "" it is there; "before", "after": away, and messages were not or were kept; "full": it takes nothing.
    `larger`: what has more bytes it takes by no means. `gate`: appends wait for it, before anything else."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self.mode = ""
        self.larger = 1_000_000
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, messages: Sequence[Message]) -> None:
        self.asked += 1
        mode = self.mode
        if mode == "full":
            raise LogFull("it is full")
        fitting = [message for message in messages if len(message.value or b"") <= self.larger]
        # As in Kafka, the place in the order is taken at the call.
        done = self._log.enqueue(fitting) if mode != "before" and fitting else None
        await self.gate.wait()
        if done is not None:
            await done
        if mode or self.mode == "before":
            raise LogUnavailable("it is away")
        if len(fitting) < len(messages):
            raise TooLarge([message for message in messages if message not in fitting])

    async def trouble(self) -> str | None:
        return "it is away" if self.mode else None


class Place:
    """A folder with a log, and receivers that spill beside it. Opened again, it is as a new process finds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1_000_000.0
        self.metrics = Metrics(CollectorRegistry())

    def clock(self) -> float:
        return self.now

    def terms(self, max_bytes: int = 1 << 30, **more: Any) -> Terms:
        return Terms(
            str(self.folder / "spill"),
            max_bytes,
            **{"keep_days": 14.0, "look_s": 0.02, "longest_wait_s": 0.002, **more},
        )

    @asynccontextmanager
    async def log(self) -> AsyncIterator[Away]:
        async with SqliteLog.open(self.folder / "log.db", partitions=2, clock=self.clock, wait=0.0) as log:
            yield Away(log)

    def spill(self, log: Away, metrics: Metrics | None = None, **more: Any) -> Any:
        return Spill.open(log, self.terms(**more), self.clock, metrics or Metrics(CollectorRegistry()))

    @asynccontextmanager
    async def both(self, mode: str = "", **more: Any) -> AsyncIterator[tuple[Away, Spill]]:
        async with AsyncExitStack() as stack:
            log = await stack.enter_async_context(self.log())
            log.mode = mode
            yield log, await stack.enter_async_context(self.spill(log, self.metrics, **more))

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


def message(key: str, number: int, topic: str = TRACK) -> Message:
    return Message(topic, key.encode(), str(number).encode(), (("received", b"1"),))


async def numbers(log: Any, names: Iterable[str] = (TRACK, IDENTIFY)) -> dict[tuple[str, str], list[int]]:
    """By topic and key, the numbers in the order in which they came first."""
    found: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)
    for topic in names:
        async for delivery in log.read(topic):
            found[topic, delivery.message.key.decode()][int(delivery.message.value or b"")] = None
    return {at: list(one) for at, one in found.items()}


async def copies(log: Any, topic: str = TRACK) -> Counter[int]:
    return Counter([int(delivery.message.value or b"") async for delivery in log.read(topic)])


async def direct(spill: Spill) -> None:
    """Returns once nothing waits, and appends go to the log itself."""
    async with asyncio.timeout(10):
        while any(since is not None for since in spill.standing.values()) or spill._detour.since is not None:
            await asyncio.sleep(0.001)


async def outcome(append: Any) -> type[LogError] | None:
    """How an append ended."""
    try:
        await append
    except LogError as error:
        return type(error)
    return None
