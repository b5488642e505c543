"""Reactors, from the log to handled events, against 40 lines of asyncio over the same log. See docs/operating.md."""

import asyncio
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry

from benchmarks import traffic
from benchmarks.served import config
from benchmarks.table import Goal, Row, ratio
from stream.batch import Surroundings
from stream.commits import Commits
from stream.config import LaneConfig
from stream.events import Event
from stream.gate import Question
from stream.http import Recorder
from stream.log.sqlite import SqliteLog
from stream.message import Message
from stream.processor import Reactor
from stream.reactor import Outside, Reacting
from stream.runner import Runner
from stream.store import Store
from stream.telemetry import Metrics
from stream.turns import Turns

KEYS, AT_ONCE, LONGEST_S = 1_000, 1_000, 0.005

Handle = Callable[[int], Awaitable[None]]
"""What is done with an event, by its number."""


async def sleeping(quick: bool) -> Row:
    """A reactor whose handle() waits for 0 to 5 ms."""
    ours, loop, wrong = await _compare(_sleep, 10_000, 3 if quick else 9)
    goals = (Goal("of its time", ratio(ours, loop), 1.3, at_most=True), Goal("out of order", wrong, 0, at_most=True))
    return _row("sleeping", "a reactor that waits 0-5 ms, 1,000 at once", goals, ours, loop)


async def idle(quick: bool) -> Row:
    """A reactor whose handle() does nothing."""
    amount = 10_000 if quick else 40_000
    ours, loop, wrong = await _compare(_nothing, amount, 3 if quick else 9)
    goals = (Goal("of its events/s", ratio(loop, ours), 0.5), Goal("out of order", wrong, 0, at_most=True))
    return _row("idle", "a reactor that does nothing", goals, ours, loop)


def _row(name: str, work: str, goals: tuple[Goal, ...], ours: list[float], loop: list[float]) -> Row:
    return Row(name, work, "a queue and a task per key, no guarantees", goals, {"s": ours, "plain s": loop})


async def _sleep(number: int) -> None:
    await asyncio.sleep(number * 7_919 % 1_000 / 1_000 * LONGEST_S)


async def _nothing(number: int) -> None:
    pass


class _Order:
    """Handles, and sees whether each user's events come in order."""

    def __init__(self, handle: Handle, amount: int) -> None:
        self.done = asyncio.Event()
        self.wrong = 0
        self._handle = handle
        self._left = amount
        self._last: dict[bytes, int] = {}

    async def __call__(self, message: Message) -> None:
        number = int(message.headers[-1][1])
        await self._handle(number)
        self.wrong += self._last.get(message.key, -1) >= number
        self._last[message.key] = number
        self._left -= 1
        if not self._left:
            self.done.set()


class _Reacts(Reactor):
    name = "reacts"
    topics = ("track",)

    def __init__(self, order: _Order) -> None:
        self.order = order

    async def handle(self, event: Event) -> None:
        await self.order(event.message)


class _Open:
    """A gate that refuses nobody: nothing is sent here."""

    async def ask(self, question: Question) -> None:
        pass


async def _compare(handle: Handle, amount: int, rounds: int) -> tuple[list[float], list[float], int]:
    """Seconds of ours and of the plain loop, in turn, each round from empty state; the first warms."""
    ours, loop, wrong = [], [], 0
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(rounds + 1):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            order = _Order(handle, amount)
            ours.append(await _run(folder, order, amount))
            wrong += order.wrong
            loop.append(await _looped(folder / "log.db", _Order(handle, amount)))
    return ours[1:], loop[1:], wrong


async def _run(folder: Path, order: _Order, amount: int) -> float:
    settings = config(folder)
    lanes = LaneConfig(concurrency=AT_ONCE, window=10_000)
    async with (
        SqliteLog.open(folder / "log.db", partitions=1, clock=time.time) as log,
        Store.open(f"sqlite:{folder / 'state.db'}", settings.identity) as store,
    ):
        around = Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), time.time)
        commits = Commits(store)
        outside = Outside(Recorder(lambda shown: None), _Open(), commits)
        runner = Runner(Reacting(_Reacts(order), lanes, around, outside), around, commits)
        async with runner.joined() as cursor:  # a new one starts at the end of the log: it is empty now
            while not runner.owns_something:
                await cursor.fetch(1)
        messages = _messages(amount)
        for first in range(0, amount, 1_000):
            await log.append(messages[first : first + 1_000])
        begun = time.perf_counter()
        running = asyncio.create_task(runner.run())
        await order.done.wait()
        took = time.perf_counter() - begun
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return took


def _messages(amount: int) -> list[Message]:
    """Segment's example of a track, each key in turn."""
    mixed = traffic.messages(traffic.Mix(), amount)
    return [
        Message(one.topic, b"user-%d" % (n % KEYS), one.value, (*one.headers, ("number", b"%d" % n)))
        for n, one in enumerate(mixed)
    ]


async def _looped(path: Path, order: _Order) -> float:
    """What a good engineer writes first: no retry, no position, no bound, nothing is remembered."""
    begun = time.perf_counter()
    queues: dict[bytes, asyncio.Queue[Message]] = {}

    async def work(queue: asyncio.Queue[Message]) -> None:
        while True:
            message = await queue.get()
            _route(message.value or b"")
            await order(message)

    async with asyncio.TaskGroup() as group:
        tasks = []
        with contextlib.closing(sqlite3.connect(path)) as log:
            for (data,) in log.execute("SELECT data FROM batch ORDER BY partition_id, next").fetchall():
                for message in _decode(data):
                    queue = queues.get(message.key)
                    if queue is None:
                        queue = queues[message.key] = asyncio.Queue()
                        tasks.append(group.create_task(work(queue)))
                    queue.put_nowait(message)
        await order.done.wait()
        took = time.perf_counter() - begun
        for task in tasks:
            task.cancel()
    return took


class _Route(Struct, rename="camel", gc=False):
    type: str
    user_id: str | None = None
    anonymous_id: str | None = None
    message_id: str | None = None
    timestamp: str | None = None


_decode = msgspec.msgpack.Decoder(list[Message]).decode
_route = msgspec.json.Decoder(_Route).decode
