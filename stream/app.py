"""App: builds everything from a Config; the only place that knows all the parts."""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection

from msgspec import Struct

from stream import topics
from stream.acting import Acting, tell_destinations
from stream.batch import Surroundings
from stream.building import Built, build
from stream.config import Config
from stream.core.envelope import Limits
from stream.errands import Errands
from stream.errors import PositionLost, StoreError
from stream.log import Running
from stream.log.opening import opened
from stream.log.sqlite import SqliteLog
from stream.lone import LoneReceiver, Telling, begin, serving, store_in
from stream.places import is_kafka, is_postgres
from stream.receiver import listening, probes
from stream.retention import Retention
from stream.store import Store
from stream.telemetry import Metrics, registry
from stream.turns import Turns
from stream.worker import Worker

RECEIVER = "receiver"
_BEGIN_S = 5.0  # for what new processors begin with; then events are taken all the same
_LEAVE_S = 2.0


class Parts(Struct, frozen=True):
    """What is configured, and what of it runs in this process."""

    every: Built
    ours: Built
    acting: Acting
    receives: bool


class App:
    """The running system: a receiver, and the processors of this process."""

    def __init__(self, config: Config, around: Surroundings, log: Running, parts: Parts) -> None:
        self.config = config
        self.around = around
        self.log = log
        every, ours = parts.every, parts.ours
        self.worker = Worker(around, ours.projections, config.publish.profile, every.projections, parts.acting.runners)
        self.walkers = parts.acting.walkers
        self.alone = not is_kafka(config.log.url)  # with the embedded log, no other process runs anything
        elsewhere = () if self.alone else [one.name for one in every.processors]
        self.errands = Errands(around, self.worker, limits(config), elsewhere)
        self.retention = Retention(log, around.store, every.processors, config.log)
        self.metrics = around.metrics
        self._parts = parts
        around.metrics.queue_bytes.set_function(lambda: log.queued_bytes)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, config: Config, parts: Collection[str] = (), clock: Callable[[], float] = time.time
    ) -> AsyncIterator["App"]:
        """Opens log and store, and builds the named parts (all, without names). Waits for servers that are away. Raises
        ConfigError, LogInUse, LogRefused, SchemaMismatch, and PositionLost where the embedded log is older than the
        state."""
        every = build(config)
        ours = every.some([part for part in parts if part != RECEIVER]) if parts else every
        receives, metrics = not parts or RECEIVER in parts, Metrics(registry())
        async with opened(config, clock, metrics, receives) as log, contextlib.AsyncExitStack() as stack:
            store = await store_in(stack, config)
            if isinstance(log, SqliteLog):
                await _refuse_older(log, store)
                await store.duties.inherit()
            tell_destinations(store, every)
            around = Surroundings(log, store, Turns(), metrics, clock)
            async with Acting.open(ours, config, around) as acting, _leaving(store):
                yield cls(config, around, log, Parts(every, ours, acting, receives))

    async def run(self, started: Callable[[str | None], None] = lambda url: None) -> None:
        """Receives and processes until cancelled. `started` hears the receiver's address once it listens (None: there
        is no receiver among the parts)."""
        async with asyncio.TaskGroup() as group:
            await self._begin(group)
            async with self._receiver() as url:
                self._start(group)
                started(url)
                await asyncio.Event().wait()

    @property
    def names(self) -> list[str]:
        """Of the processors that run here."""
        return self.worker.names

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        """Has new reactors and syncs begin, before anything can come that they are to see. Where Kafka is away, events
        are taken all the same, into the spill."""
        parts = self._parts
        processors = (parts.every if parts.receives else parts.ours).processors
        beginning = group.create_task(begin(processors, self.log, self.around.store), name="begin")
        await asyncio.wait([beginning], timeout=None if self.alone else _BEGIN_S)

    def _start(self, group: asyncio.TaskGroup) -> None:
        group.create_task(self.worker.run(), name="worker")
        group.create_task(self.errands.run(), name="errands")
        for walker in self.walkers:
            group.create_task(walker.run(), name="walker")
        group.create_task(self.retention.run(self.around.clock), name="retention")
        group.create_task(Telling(self.log, self.around.clock).run(self.around.store), name="telling")

    @contextlib.asynccontextmanager
    async def _receiver(self) -> AsyncIterator[str | None]:
        around, at = self.around, self.config.probes
        if self._parts.receives:
            async with serving(self.config, self.log, self.ready, around.metrics, around.clock) as url:
                yield url
        elif at.port:
            async with listening(probes(self.ready, around.metrics), at.host, at.port, section="probes"):
                yield None
        else:
            yield None

    async def ready(self) -> str | None:
        """None if events are taken and every processor runs; otherwise what is wrong."""
        if trouble := await self.log.trouble():
            return trouble
        stopped = self.worker.stopped
        return f"stopped: {', '.join(sorted(stopped))}" if stopped else None


@contextlib.asynccontextmanager
async def running(
    config: Config, parts: Collection[str] = (), clock: Callable[[], float] = time.time
) -> "AsyncIterator[App | LoneReceiver]":
    """What `stream run` runs: an App; or, of servers that processes share, the receiver alone, which needs no store."""
    if set(parts) != {RECEIVER} or not (is_kafka(config.log.url) and is_postgres(config.store.url)):
        async with App.open(config, parts, clock) as app:
            yield app
        return
    every, metrics = build(config), Metrics(registry())
    async with opened(config, clock, metrics) as log:
        metrics.queue_bytes.set_function(lambda: log.queued_bytes)
        yield LoneReceiver(config, log, every, metrics, clock)


@contextlib.asynccontextmanager
async def _leaving(store: Store) -> AsyncIterator[None]:
    """Afterwards other processes take over at once what this one did for all."""
    try:
        yield
    finally:
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await store.duties.leave()


async def _refuse_older(log: SqliteLog, store: Store) -> None:
    # A copy from before. What it took now would lie below the positions, and never be read: so nothing may run.
    bounds = await log.bounds(topics.ALL)
    for name, positions in sorted((await store.positions.synced(log.identity)).items()):
        for partition, position in sorted(positions.items()):
            end = bounds[partition][1]
            if position > end:
                raise PositionLost(
                    f"{name} is at {position} of {partition.topic}/{partition.number}, and the log ends at {end}: it is"
                    " an older copy than the state. Put the newer log back, or start with a new state file ([store]"
                    " url) to read this one from its beginning"
                )


def limits(config: Config) -> Limits:
    """What is too much in one request."""
    return Limits(config.receiver.max_batch_events, config.receiver.max_depth)


def tune() -> None:
    """Interpreter settings of a process that receives and projects."""
    # A transaction's thread gets the interpreter back within this time, also beside a busy loop (facts: 17-59 ms → 3).
    sys.setswitchinterval(0.0005)
    # A batch of decoded events is many live objects: the collector must not walk them over and over (facts §4).
    gc.set_threshold(50_000, 20, 100)
