"""App: builds everything from a Config; the only place that knows all the parts."""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from msgspec import Struct

from stream import loading, topics
from stream.batch import Surroundings
from stream.config import Config, file_of
from stream.core.envelope import Limits
from stream.errands import Errands
from stream.errors import ConfigError, PositionLost
from stream.log.sqlite import SqliteLog
from stream.processor import Projection
from stream.receiver import application, listen_host, listening
from stream.retention import Retention
from stream.store import Store
from stream.telemetry import Metrics, registry
from stream.turns import Turns
from stream.worker import Worker

RECEIVER = "receiver"


class Setting(Struct, frozen=True):
    """What a processor's build(app, settings) is given as `app`."""

    config: Config


class App:
    """The running system: a receiver, and the processors of this process."""

    def __init__(self, config: Config, around: Surroundings, log: SqliteLog, parts: Collection[str]) -> None:
        self.config = config
        self.around = around
        self.log = log
        every = build(config)
        ours = build(config, [part for part in parts if part != RECEIVER]) if parts else every
        self.worker = Worker(around, ours, config.publish.profile, every)
        self.errands = Errands(around, self.worker, limits(config))
        self.retention = Retention(log, around.store, every, config.log)
        self._receives = not parts or RECEIVER in parts
        around.metrics.queue_bytes.set_function(lambda: log.queued_bytes)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, config: Config, parts: Collection[str] = (), clock: Callable[[], float] = time.time
    ) -> AsyncIterator["App"]:
        """Opens log and store, and builds the named parts (all, without names). Raises ConfigError, LogInUse,
        SchemaMismatch, and PositionLost where the log is older than the state."""
        log_opened = SqliteLog.open(
            file_of(config.log.url), partitions=config.log.partitions, clock=clock, queue_bytes=config.log.queue_bytes
        )
        async with log_opened as log, Store.open(config.store.url, config.identity) as store:
            await _refuse_older(log, store)
            around = Surroundings(log, store, Turns(), Metrics(registry()), clock)
            yield cls(config, around, log, parts)

    async def run(self, started: Callable[[str | None], None] = lambda url: None) -> None:
        """Receives and processes until cancelled. `started` hears the receiver's address once it listens (None: there
        is no receiver among the parts)."""
        async with asyncio.TaskGroup() as group, self._receiver() as url:
            group.create_task(self.worker.run(), name="worker")
            group.create_task(self.errands.run(), name="errands")
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


def build(config: Config, only: Collection[str] | None = None) -> list[Projection]:
    """The processors that the configuration names, or only some of those."""
    if unknown := set(only or ()) - set(config.processors):
        raise ConfigError(f"no [processors.{min(unknown)}]; there are: {', '.join(config.processors)}")
    setting = Setting(config)
    found: list[Projection] = []
    for name, settings in config.processors.items():
        if only is None or name in only:
            found += _built(name, setting, settings)
    names = [projection.name for projection in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two processors are called {min(twice)}")
    return found


def _built(name: str, setting: Setting, settings: dict[str, Any]) -> list[Projection]:
    module = loading.load(name, setting.config.folder)
    try:
        return list(module.build(setting, settings))
    except ConfigError:
        raise
    except Exception as error:  # an author's bug
        raise ConfigError(
            f"processors.{name}: build() in {module.__file__}: {type(error).__name__}: {error}"
        ) from error


def limits(config: Config) -> Limits:
    """What is too much in one request."""
    return Limits(config.receiver.max_batch_events, config.receiver.max_depth)


def tune() -> None:
    """Interpreter settings of a process that receives and projects."""
    # A transaction's thread gets the interpreter back within this time, also beside a busy loop (facts: 17-59 ms → 3).
    sys.setswitchinterval(0.0005)
    # A batch of decoded events is many live objects: the collector must not walk them over and over (facts §4).
    gc.set_threshold(50_000, 20, 100)
