"""LoneReceiver: a receiver whose processors run in other processes.

It takes events whether the store answers or not. What processors elsewhere must know of it, it writes there once it
can: where a new reactor or sync begins, and since when events wait in its spill.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog

from stream import lag, start
from stream.building import Built
from stream.config import Config
from stream.errors import StoreError, StoreUnavailable, WentBack
from stream.log import Running
from stream.log.opening import spilled
from stream.outage import outlast
from stream.processor import Processor
from stream.receiver import Ready, application, listen_host, listening
from stream.store import Store
from stream.telemetry import Metrics

logger = structlog.get_logger()

_TELL_S = 1.0
_AGAIN_S = 60.0
NAME = "receiver"


class Telling:
    """Tells the store since when events wait in the spill of this process, whenever that changes."""

    def __init__(self, log: Running, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._told: dict[str, float | None] = {}

    async def run(self, store: Store) -> None:
        """Until cancelled."""
        while True:
            for name, since in spilled(self._log).items():
                if name not in self._told or self._told[name] != since:
                    now = self._clock()
                    await outlast(lambda: store.spilled.keep(name, since, now), NAME)  # noqa: B023 - run at once
                    self._told[name] = since
            await asyncio.sleep(_TELL_S)


class LoneReceiver:
    """The receiver, alone in its process."""

    def __init__(
        self, config: Config, log: Running, every: Built, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self.config = config
        self.log = log
        self.metrics = metrics
        self.clock = clock
        self.names: list[str] = []  # of processors: none
        self._every = every

    async def run(self, started: Callable[[str | None], None] = lambda url: None) -> None:
        """Receives until cancelled. `started` hears its address once it listens."""
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell(), name="telling")
            async with serving(self.config, self.log, self.log.trouble, self.metrics, self.clock) as url:
                started(url)
                await telling

    async def _tell(self) -> None:
        while True:
            pause = _AGAIN_S
            try:
                async with AsyncExitStack() as stack:
                    store = await store_in(stack, self.config)
                    async with asyncio.TaskGroup() as group:  # while Kafka is away nothing begins, and much is to tell
                        group.create_task(begin(self._every.processors, self.log, store))
                        group.create_task(Telling(self.log, self.clock).run(store))
            except* WentBack:  # whatever was told the last server may be forgotten: it is told again
                pause = 0.0
            except* StoreError as errors:  # it stays so until somebody changes something: events are taken all the same
                logger.error("store_refused", reason=str(errors.exceptions[0]))
            await asyncio.sleep(pause)


async def begin(processors: Iterable[Processor], log: Running, store: Store) -> None:
    """Has each new reactor and sync begin where the log ends now. Waits for log and store."""
    for one in lag.readers(processors):
        if one.from_end:
            await outlast(partial(start.begin, one.name, log, store, one.topics), one.name)


@asynccontextmanager
async def serving(
    config: Config, log: Running, ready: Ready, metrics: Metrics, clock: Callable[[], float]
) -> AsyncIterator[str]:
    """The receiver, while the context is open; its address. Raises ConfigError where it cannot listen."""
    host = listen_host(config)
    receiver = application(config, log, clock=clock, ready=ready, metrics=metrics)
    async with listening(receiver, host, config.receiver.port, shared=config.receiver.reuse_port) as port:
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def store_in(stack: AsyncExitStack, config: Config) -> Store:
    """The store that the configuration names, open as long as the stack. Waits for a server that is away."""

    async def attempt() -> Store:
        return await stack.enter_async_context(Store.open(config.store, config.identity))

    return await outlast(attempt, "store", of=(StoreUnavailable,))
