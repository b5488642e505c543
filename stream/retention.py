"""Retention: what is remembered of old sends goes; and of the embedded log, by age and size, what everybody has read.

Kafka ages its topics by itself.
"""

import asyncio
from collections.abc import Callable, Sequence

from stream import topics
from stream.lag import read_up_to, readers
from stream.log import Log
from stream.log.sqlite import SqliteLog
from stream.outage import outlast
from stream.places import LogConfig
from stream.processor import Processor
from stream.store import Store

_EVERY_S = 60.0
_SENDS_DAYS = 30.0  # for so long it is remembered what reactors sent
_SENDS_EVERY_S = 3_600.0


class Retention:
    """Deletes what is old enough and read by everybody; and what is remembered of sends and members that are old."""

    def __init__(self, log: Log, store: Store, processors: Sequence[Processor], config: LogConfig) -> None:
        self._log = log
        self._store = store
        self._readers = readers(processors)
        self._config = config
        self._purged = float("-inf")

    async def run(self, clock: Callable[[], float]) -> None:
        """Until cancelled."""
        while True:
            await outlast(lambda: self.step(clock()), "retention")
            await asyncio.sleep(_EVERY_S)

    async def step(self, now: float) -> int:
        """Once; the number of messages deleted. Counts on no position that a loss of power could take back."""
        if now - self._purged >= _SENDS_EVERY_S and await self._store.duties.mine("purge", now):
            self._purged = now
            await self._store.statuses.forget(now)
            while await self._store.sends.purge(now - _SENDS_DAYS * 86_400):
                pass
        if not isinstance(self._log, SqliteLog):
            return 0
        every = await self._log.bounds(topics.ALL)
        keep = read_up_to(await self._store.positions.synced(self._log.identity), self._readers, every)
        oldest = now - self._config.retention_days * 86_400
        return await self._log.retain(keep, oldest, self._config.retention_bytes)
