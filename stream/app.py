"""App: builds everything from a Config; the only place that knows all the parts."""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection

from msgspec import Struct

from stream import start, topics
from stream.acting import Acting, tell_destinations
from stream.batch import Surroundings
from stream.building import Built, build
from stream.config import Config
from stream.core.envelope import Limits
from stream.errands import Errands
from stream.errors import PositionLost
from stream.log.sqlite import SqliteLog
from stream.places import file_of
from stream.receiver import application, listen_host, listening
from stream.retention import Retention
from stream.store import Store
from stream.telemetry import Metrics, registry
from stream.turns import Turns
from stream.worker import Worker

RECEIVER = "receiver"


class Parts(Struct, frozen=True):
    """What is configured, and what of it runs in this process."""

    every: Built
    ours: Built
    acting: Acting
    receives: bool


class App:
    """The running system: a receiver, and the processors of this process."""

    def __init__(self, config: Config, around: Surroundings, log: SqliteLog, parts: Parts) -> None:
        self.config = config
        self.around = around
        self.log = log
        every, ours = parts.every, parts.ours
        self.worker = Worker(around, ours.projections, config.publish.profile, every.projections, parts.acting.runners)
        self.walkers = parts.acting.walkers
        self.errands = Errands(around, self.worker, limits(config))
        self.retention = Retention(log, around.store, every.processors, config.log)
        self._receives = parts.receives
        around.metrics.queue_bytes.set_function(lambda: log.queued_bytes)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, config: Config, parts: Collection[str] = (), clock: Callable[[], float] = time.time
    ) -> AsyncIterator["App"]:
        """Opens log and store, and builds the named parts (all, without names). Raises ConfigError, LogInUse,
        SchemaMismatch, and PositionLost where the log is older than the state."""
        every = build(config)
        ours = every.some([part for part in parts if part != RECEIVER]) if parts else every
        log_opened = SqliteLog.open(
            file_of(config.log.url), partitions=config.log.partitions, clock=clock, queue_bytes=config.log.queue_bytes
        )
        async with log_opened as log, Store.open(config.store.url, config.identity) as store:
            await _refuse_older(log, store)
            tell_destinations(store, every)
            around = Surroundings(log, store, Turns(), Metrics(registry()), clock)
            async with Acting.open(ours, config, around) as acting:
                yield cls(config, around, log, Parts(every, ours, acting, not parts or RECEIVER in parts))

    async def run(self, started: Callable[[str | None], None] = lambda url: None) -> None:
        """Receives and processes until cancelled. `started` hears the receiver's address once it listens (None: there
        is no receiver among the parts)."""
        for runner in self.worker.runners.values():  # before anything can come that they are to see
            await start.begin(runner.name, self.log, self.around.store, runner.actor.topics)
        async with asyncio.TaskGroup() as group, self._receiver() as url:
            group.create_task(self.worker.run(), name="worker")
            group.create_task(self.errands.run(), name="errands")
            for walker in self.walkers:
                group.create_task(walker.run(), name="walker")
            group.create_task(self.retention.run(self.around.clock), name="retention")
            started(url)
            await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def _receiver(self) -> AsyncIterator[str | None]:
        if not self._receives:
            yield None
            return
        host, around = listen_host(self.config), self.around
        receiver = application(self.config, self.log, clock=around.clock, ready=self.ready, metrics=around.metrics)
        async with listening(receiver, host, self.config.receiver.port) as port:
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def ready(self) -> str | None:
        """None if events are taken and every processor runs; otherwise what is wrong."""
        if trouble := await self.log.trouble():
            return trouble
        stopped = self.worker.stopped
        return f"stopped: {', '.join(sorted(stopped))}" if stopped else None


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
