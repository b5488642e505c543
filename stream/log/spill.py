"""Spill: a Log around another one. While that one is away, what is appended waits in a local file, and then follows.

Order: what one process appended after another append of its own had returned comes after it, of each key. So while
anything waits in the file, everything goes through it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import structlog

from stream.errors import LogError, TooLarge
from stream.log import Cursor, OnAssign, OnRevoke, Running
from stream.log.refused import Refused
from stream.log.spill_detour import Detour
from stream.log.spill_drain import Drain
from stream.log.spill_file import SpillFile
from stream.log.spill_folder import SpillFolder, Terms
from stream.message import Delivery, Message, Partition
from stream.telemetry import Metrics

__all__ = ["Spill", "Terms"]

logger = structlog.get_logger()


class Spill:
    """See Log: what is appended is durable, in the log or here. All else is the log's own.

    A message that the log takes by no means goes to `refused`, and that is durable too."""

    def __init__(self, log: Running, folder: SpillFolder, own: SpillFile, metrics: Metrics) -> None:
        self._log, self._folder, self._own, self._metrics = log, folder, own, metrics
        self._drain = Drain(self._move, log.trouble, folder.terms.longest_wait_s)
        self._detour = Detour(own, self._drain, folder.clock)
        self._refused = Refused(folder.path, metrics)
        self._left: list[SpillFile] = []
        self._moved: set[str] = set()
        metrics.spill_messages.set_function(lambda: sum(file.messages for file in self._files))
        metrics.spill_bytes.set_function(lambda: sum(file.bytes for file in self._files if not file.empty))
        metrics.spill_oldest.set_function(self._age)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, log: Running, terms: Terms, clock: Callable[[], float], metrics: Metrics
    ) -> "AsyncIterator[Spill]":
        """What earlier processes left in the folder goes to the log first. Raises LogUnavailable where the folder
        cannot be written. Closing leaves in the file what waits there, for the next process."""
        folder = SpillFolder(terms, clock)
        async with folder.own() as own:
            spill = cls(log, folder, own, metrics)
            async with folder.left() as left:
                if not all(file.empty for file in (own, *left)):
                    spill._detour.begin("events of an earlier process wait")
            async with _beside(spill._run()):
                yield spill

    async def identities(self, topics: Collection[str]) -> Mapping[str, str]:
        """See Log."""
        return await self._log.identities(topics)

    @property
    def queued_bytes(self) -> int:
        """What waits to become durable."""
        return self._log.queued_bytes + self._own.queued_bytes

    @property
    def standing(self) -> dict[str, float | None]:
        """Of each file that this process has, or has moved: since when it holds what the log does not; None: it holds
        nothing."""
        return dict.fromkeys(self._moved) | {file.name: file.since for file in self._files}

    async def append(self, messages: Sequence[Message]) -> None:
        """See Log."""
        if self._detour.closed:
            return await self._detour.wait(messages)
        if self._detour.since is None:
            try:
                return await self._log.append(messages)
            except TooLarge as error:
                return await self._refused.keep(error.messages, self._folder.clock(), self._folder.terms.max_bytes)
            except LogError as error:  # what arrived all the same comes twice
                self._detour.begin(str(error))
        if messages:
            await self._own.enqueue(messages, self._folder.clock())
            self._metrics.spilled.inc(len(messages))

    async def trouble(self) -> str | None:
        """Why nothing can be appended now, neither there nor here; None if something can."""
        if self._detour.since is None and await self._log.trouble() is None:
            return None
        return await self._own.trouble()

    def consume(
        self,
        group: str,
        topics: Collection[str],
        on_assign: OnAssign,
        on_revoke: OnRevoke,
        until: Mapping[Partition, int] | None = None,
    ) -> AbstractAsyncContextManager[Cursor]:
        """See Log."""
        return self._log.consume(group, topics, on_assign, on_revoke, until)

    def read(self, topic: str, since: float = 0.0, until: float | None = None) -> AsyncIterator[Delivery]:
        """See Log."""
        return self._log.read(topic, since, until)

    async def bounds(self, topics: Collection[str], at: float | None = None) -> dict[Partition, tuple[int, int]]:
        """See Log."""
        return await self._log.bounds(topics, at)

    @property
    def _files(self) -> list[SpillFile]:
        return [self._own, *self._left]

    def _age(self) -> float:
        times = [file.oldest for file in self._files if file.oldest is not None]
        return self._folder.clock() - min(times) if times else 0.0

    async def _run(self) -> None:
        while True:
            await self._adopt()  # what was left came before what comes now
            await self._detour.end(self.append)
            await self._refused.look(self._folder.clock(), self._folder.terms.keep_days)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._folder.terms.look_s):
                    await self._detour.begun.wait()
            self._detour.begun.clear()

    async def _adopt(self) -> None:
        """Moves what processes left behind that do not run any more."""
        async with self._folder.left() as self._left:
            for file in self._left:
                if not file.empty:
                    logger.warning("spill_adopted", file=str(file.path), receiver=file.name, messages=file.messages)
                    await self._drain.whole(file)
                self._moved.add(file.name)
            self._left = []

    async def _move(self, messages: Sequence[Message]) -> None:
        try:
            await self._log.append(messages)
        except TooLarge as error:
            await self._refused.keep(error.messages, self._folder.clock())


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """It runs while the context is open. If it breaks, so does what is inside."""
    inside = asyncio.current_task()
    assert inside is not None
    task = asyncio.create_task(work, name="spill")
    task.add_done_callback(broke := lambda _: inside.cancel())
    try:
        yield
    finally:
        if task.done():
            inside.uncancel()
        else:
            task.remove_done_callback(broke)
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()
