"""The embedded system, stepped by hand: the real log, store, processors and eraser on files in a test's folder.

Nothing is faked but time. Every step is taken when the test says so, and nothing runs in between.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry

from stream import topics
from stream.batch import Surroundings
from stream.building import build
from stream.config import Config, IdentityConfig, PublishConfig
from stream.eraser import NAME, Eraser
from stream.log import Cursor
from stream.log.sqlite import SqliteLog
from stream.message import Delivery, Message
from stream.person import Person
from stream.places import LogConfig, StoreConfig
from stream.processor import Projection
from stream.projector import Projector
from stream.publisher import Publisher
from stream.snapshot import read
from stream.store import Store
from stream.subjects import text_id
from stream.telemetry import Metrics
from stream.turns import Turns


class Clock:
    """Time that stands still until it is set."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def file_store(folder: Path) -> str:
    """Where the state of a folder is kept."""
    return f"sqlite:{folder / 'state.db'}"


class Embedded:
    """Log, store, and one member of every projection, joined; nothing runs by itself."""

    store_of: ClassVar[Callable[[Path], str]] = staticmethod(file_store)
    """Folder → url of the store; tests/engine/conftest.py has another one."""

    def __init__(self, around: Surroundings, projections: Sequence[Projection], profile: bool) -> None:
        self.around = around
        self.log, self.store = around.log, around.store
        self.projectors = {p.name: Projector(p, around, Publisher(p.name, around, profile)) for p in projections}
        self.eraser = Eraser(around, projections, Publisher(NAME, around, profile))
        self.cursors: dict[str, Cursor] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, folder: Path, config: Config | None = None, clock: Clock | None = None, more: Sequence[Projection] = ()
    ) -> AsyncIterator["Embedded"]:
        """Opens the system that the folder's files hold."""
        config = config or Config(publish=PublishConfig(profile=True))
        clock = clock or Clock()
        projections = [*build(config).projections, *more]
        async with contextlib.AsyncExitStack() as stack:
            log = await stack.enter_async_context(
                SqliteLog.open(folder / "log.db", partitions=config.log.partitions, clock=clock, wait=0.0)
            )
            store = await stack.enter_async_context(Store.open(cls.store_of(folder), config.identity))
            around = Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), clock)
            system = cls(around, projections, config.publish.profile)
            for name, projector in system.projectors.items():
                system.cursors[name] = await stack.enter_async_context(projector.joined())
            yield system

    async def send(self, *messages: Message) -> None:
        """Appends, as the receiver does."""
        await self.log.append(messages)

    async def step(self, name: str) -> int:
        """One processor fetches once, and deals with what came."""
        return await self.projectors[name].step(self.cursors[name])

    async def settle(self) -> None:
        """Every processor reads to the end, and every deletion that can be finished is."""
        await self.read()
        for _ in range(3):  # note the ends, erase, see that it is done
            await self.eraser.step()
            await self.read()

    async def read(self, *names: str) -> None:
        """These processors (all of them, without names) read to the end."""
        for name in names or self.projectors:
            await self._assigned(name)
            while await self.step(name):
                pass

    async def _assigned(self, name: str) -> None:
        # Joining does not wait for the assignment; a step before it reads nothing, or raises why there is none.
        async with asyncio.timeout(10):
            while not self.projectors[name].owns_something:
                await self.step(name)

    async def person(self, subject: str) -> Person | None:
        """The person of a subject, as others would read it."""
        snapshot = await read(self.store, [subject])
        return snapshot.person(snapshot.components[subject].key)

    async def topic(self, name: str) -> list[Delivery]:
        """All that a topic holds."""
        return [delivery async for delivery in self.log.read(name)]

    async def fates(self) -> dict[str, dict[str, int]]:
        """How many deliveries of each processor ended how."""
        return await self.store.positions.fates()


def message(kind: str, received: float, headers: Mapping[str, str] | None = None, **body: Any) -> Message:
    """A raw message as the receiver writes it, from a signed destination request received at that time. Without a
    messageId of its own it has one made of type, time and ids."""
    ids = [text_id(body.get(name)) for name in ("userId", "anonymousId", "groupId")]
    body = {"type": kind, "messageId": f"{kind}-{received}-{'-'.join(filter(None, ids))}", **body}
    known = {"source": "test", "received": f"{received:.6f}", "path": "destination", "signed": "1", **(headers or {})}
    key = next((identifier for identifier in ids if identifier), body["messageId"])
    given = tuple((name, value.encode()) for name, value in known.items())
    return Message(topics.RAW[kind], key.encode(), json.dumps(body).encode(), given)


def config(
    folder: Path, processors: Iterable[str] = ("profiles", "audiences", "consent", "deletion"), **identity: Any
) -> Config:
    """A configuration whose files lie in the folder."""
    return Config(
        log=LogConfig(url=f"sqlite:{folder / 'log.db'}"),
        store=StoreConfig(url=f"sqlite:{folder / 'state.db'}"),
        identity=IdentityConfig(**identity),
        publish=PublishConfig(profile=True),
        processors={name: {} for name in processors},
    )
