"""An actor whose deliveries say how they end, on the embedded log and store, stepped by hand."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from stream.batch import Surroundings
from stream.commits import Commits
from stream.config import IdentityConfig, LaneConfig
from stream.errors import Dead, NotYet, Retry, Skip
from stream.log import Cursor
from stream.log.sqlite import SqliteLog
from stream.message import Delivery, Message
from stream.runner import Runner
from stream.store import Store
from stream.telemetry import Metrics
from stream.turns import Turns
from tests.embedded import Clock, Embedded

TOPIC = "segment.track"


class Moody:
    """Ends each delivery as `moods` says of its number, one word a try, the last one for all that follow: ok, idle
    (nothing was asked), skip, retry, late (a Retry with after=100), outage, notyet, dead, bug.
    Remembers what it was asked. Those that are `left_out` are nothing for it."""

    def __init__(self, name: str = "moody", joins: bool = False, **config: Any) -> None:
        self.name = name
        self.topics = (TOPIC,)
        self.joins = joins
        self.config = LaneConfig(**config)
        self.moods: dict[int, list[str]] = {}
        self.asked: list[int] = []
        self.done: list[int] = []
        self.slow: list[bool] = []
        self.left_out: set[int] = set()
        self.before: Callable[[int], Any] | None = None

    def lane(self, delivery: Delivery) -> str:
        return delivery.message.key.decode()

    def skips(self, delivery: Delivery) -> str | None:
        return "skipped:nothing_for_it" if number_of(delivery) in self.left_out else None

    def about(self, delivery: Delivery) -> tuple[str, float]:
        return f"user:{self.lane(delivery)}", delivery.time

    async def act(self, deliveries: Sequence[Delivery], slow: bool) -> bool:
        number = number_of(deliveries[-1])
        if self.before is not None:
            await self.before(number)
        self.asked.append(number)
        self.slow.append(slow)
        moods = self.moods.get(number, ["ok"])
        match moods.pop(0) if len(moods) > 1 else moods[0]:
            case "skip":
                raise Skip("not_today")
            case "retry":
                raise Retry("down")
            case "late":
                raise Retry("limited", after=100.0)
            case "outage":
                raise Retry("key", outage=True)
            case "notyet":
                raise NotYet("gate", after=5.0)
            case "dead":
                raise Dead("wrong")
            case "bug":
                raise ZeroDivisionError("secret")
            case "idle":
                return False
        self.done.append(number)
        return True


class Acting:
    """Log, store, and one member; nothing runs by itself, and time stands still."""

    def __init__(self, around: Surroundings, runner: Runner, actor: Moody, cursor: Cursor) -> None:
        self.around, self.runner, self.actor, self.cursor = around, runner, actor, cursor
        self.log, self.store = around.log, around.store

    async def send(self, *lanes: str, first: int = 0) -> None:
        """Appends a delivery for each of these lanes, numbered from `first` on."""
        await self.log.append([sent(lane, number) for number, lane in enumerate(lanes, first)])

    async def step(self, times: int = 1) -> None:
        for _ in range(times):
            await self.runner.step(self.cursor)

    async def pass_time(self, seconds: float) -> None:
        """And what is due then is done."""
        self.around.clock.now += seconds  # type: ignore[attr-defined]
        await self.step()

    async def fates(self) -> dict[str, int]:
        return (await self.store.positions.fates()).get(self.actor.name, {})

    async def held(self) -> list[tuple[int, str, str]]:
        """Number, state and reason of what is held, in order."""
        return [(number_of(one.delivery), one.state, one.reason) for one in await self.store.held.page()]

    async def lanes(self) -> dict[str, float]:
        """The held lanes, and in how many seconds each is due."""
        now = self.around.clock()
        return {lane.name: lane.due - now for lane in await self.store.lanes.of(self.actor.name)}

    async def position(self) -> int:
        """Of all partitions together."""
        return sum((await self.store.positions.all())[self.actor.name].values())


def sent(lane: str, number: int) -> Message:
    return Message(TOPIC, lane.encode(), json.dumps({"n": number}).encode())


def number_of(delivery: Delivery) -> int:
    number: int = json.loads(delivery.message.value or b"")["n"]
    return number


@contextlib.asynccontextmanager
async def surroundings(folder: Path, clock: Clock, partitions: int = 1) -> AsyncIterator[Surroundings]:
    async with (
        SqliteLog.open(folder / "log.db", partitions=partitions, clock=clock, wait=0.0) as log,
        Store.open(Embedded.store_of(folder), IdentityConfig()) as store,
    ):
        yield Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), clock)


@contextlib.asynccontextmanager
async def acting(folder: Path, actor: Moody, clock: Clock | None = None, partitions: int = 1) -> AsyncIterator[Acting]:
    """One member that owns its partitions; retries wait their whole time, without jitter."""
    async with surroundings(folder, clock or Clock(), partitions) as around, acting_beside(around, actor) as one:
        yield one


@contextlib.asynccontextmanager
async def acting_beside(around: Surroundings, actor: Moody | None = None) -> AsyncIterator[Acting]:
    """One member on what is open already."""
    actor = actor or Moody()
    runner = Runner(actor, around, Commits(around.store), jitter=lambda: 0.0)
    async with runner.joined() as cursor:
        while not runner.owns_something:
            await cursor.fetch(1)
        for _ in range(10):  # and the log knows it too
            await asyncio.sleep(0)
        yield Acting(around, runner, actor, cursor)
