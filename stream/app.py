"""App: builds everything from a Config; the only place that knows all the parts."""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection

from msgspec import Struct
from prometheus_client import CollectorRegistry

from stream import loading
from stream.batch import Surroundings
from stream.config import Config, file_of
from stream.core.envelope import Limits
from stream.errands import Errands
from stream.errors import ConfigError
from stream.log.sqlite import SqliteHistory, SqliteLog
from stream.processor import Projection
from stream.receiver import application, listen_host, listening
from stream.retention import Retention
from stream.store import Store
from stream.telemetry import Metrics
from stream.turns import Turns
from stream.worker import Worker


class Setting(Struct, frozen=True):
    """What a processor's build(app, settings) is given as `app`."""

    config: Config


class App:
    """The running system: a receiver, and the processors of this process."""

    def __init__(self, config: Config, around: Surroundings, worker: Worker, log: SqliteLog) -> None:
        self.config = config
        self.around = around
        self.worker = worker
        limits = Limits(config.receiver.max_batch_events, config.receiver.max_depth)
        self.errands = Errands(around, worker, limits)
        self.retention = Retention(log, around.store, worker.projections, config.log)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: Config, clock: Callable[[], float] = time.time) -> AsyncIterator["App"]:
        """Opens log and store, and builds the processors. Raises ConfigError, LogInUse, SchemaMismatch."""
        projections = build(config)
        log_opened = SqliteLog.open(
            file_of(config.log.url), partitions=config.log.partitions, clock=clock, queue_bytes=config.log.queue_bytes
        )
        async with log_opened as log, Store.open(config.store.url, config.identity) as store:
            around = Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), clock)
            yield cls(config, around, Worker(around, projections, config.publish.profile), log)

    async def run(self, started: Callable[[str], None] = lambda url: None) -> None:
        """Receives and processes until cancelled. `started` hears the receiver's address once it listens."""
        host = listen_host(self.config)
        log, clock, metrics = self.around.log, self.around.clock, self.around.metrics
        receiver = application(self.config, log, clock=clock, ready=self.ready, metrics=metrics)
        async with asyncio.TaskGroup() as group, listening(receiver, host, self.config.receiver.port) as port:
            group.create_task(self.worker.run(), name="worker")
            group.create_task(self.errands.run(), name="errands")
            group.create_task(self.retention.run(clock), name="retention")
            started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            await asyncio.Event().wait()

    async def ready(self) -> str | None:
        """None if events are taken and every processor runs; otherwise what is wrong."""
        stopped = self.worker.stopped
        return f"stopped: {', '.join(sorted(stopped))}" if stopped else None


def build(config: Config, only: Collection[str] = ()) -> list[Projection]:
    """The processors that the configuration names, or only some of them."""
    if unknown := set(only) - set(config.processors):
        raise ConfigError(f"no [processors.{min(unknown)}]; there are: {', '.join(config.processors)}")
    setting = Setting(config)
    found: list[Projection] = []
    for name, settings in config.processors.items():
        if not only or name in only:
            found += loading.load(name, config.folder).build(setting, settings)
    names = [projection.name for projection in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two processors are called {min(twice)}")
    return found


@contextlib.asynccontextmanager
async def looking(config: Config) -> AsyncIterator[tuple[SqliteHistory, Store]]:
    """Log and store for a command that looks, beside a process that may be running."""
    async with (
        SqliteHistory.open_readonly(file_of(config.log.url)) as log,
        Store.open(config.store.url, config.identity) as store,
    ):
        yield log, store


def tune() -> None:
    """Interpreter settings of a process that receives and projects."""
    # A transaction's thread gets the interpreter back within this time, also beside a busy loop (facts: 17-59 ms → 3).
    sys.setswitchinterval(0.0005)
    # A batch of decoded events is many live objects: the collector must not walk them over and over (facts §4).
    gc.set_threshold(50_000, 20, 100)
