"""The watchdog: keeps one member in its group, and replaces a consumer that has gone silent.

Kafka's client may stop giving messages without an error (facts: after restarts of brokers, after a lost membership). So
somebody else asks where the topics end, over another connection.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import structlog
from msgspec import Struct

from stream.errors import LogError, LogRefused, LogUnavailable
from stream.log.kafka import translated
from stream.log.kafka_client import Consumer
from stream.log.kafka_closing import check_membership
from stream.log.kafka_cursor import KafkaCursor
from stream.log.kafka_lookup import Lookup
from stream.log.kafka_member import Member
from stream.outage import outlast

logger = structlog.get_logger()

_FETCH_BYTES = 16 * 1024 * 1024  # of one broker, at once
_NEVER_MS = 2**31 - 1  # who fetches nothing for long has its reasons, and stays a member: heartbeats go on
_COPY_S = 1.0
_LAST_S = 1.0
_AGAIN_S = 1.0  # between two consumers


class Patience(Struct, frozen=True):
    """How long, in s, a consumer may give nothing while there is something, and may be without an assignment; how long
    it has to let go of its partitions; how often it is looked at; and how long a fetch waits."""

    silent: float = 30.0
    unassigned: float = 90.0
    rebalance: float = 60.0
    look: float = 5.0
    fetch: float = 0.2


PATIENCE = Patience()
_WRITING_S = 15.0  # what is written after a grace


def patience(processors: Mapping[str, Any]) -> Patience:
    """For these tables of the configuration: nobody is expelled who lets go within its `grace_s`."""
    rebalance = max(PATIENCE.rebalance, max(_graces(processors), default=0.0) + _WRITING_S)
    return Patience(rebalance=rebalance, unassigned=rebalance + 30.0)


def _graces(table: Mapping[str, Any]) -> Iterator[float]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _graces(value)
        elif key == "grace_s" and isinstance(value, int | float):
            yield float(value)


class Watchdog:
    """Of one member."""

    def __init__(self, member: Member, cursor: KafkaCursor, lookup: Lookup, patience: Patience) -> None:
        self._member = member
        self._cursor = cursor
        self._lookup = lookup
        self._patience = patience

    async def run(self, topics: Collection[str]) -> None:
        """Until cancelled. Then the member has let go of everything, and left."""
        try:
            await outlast(lambda: self._lookup.topics(topics), self._member.group)
            while True:
                await self._one(topics)
                logger.warning("consumer_rebuilt", processor=self._member.group, reason=self._member.why)
                await asyncio.sleep(_AGAIN_S)
        except LogRefused as error:
            self._member.fail(error)

    async def _one(self, topics: Collection[str]) -> None:
        """One consumer, until it is to be replaced."""
        member = self._member
        async with AsyncExitStack() as stack:
            consumer = await outlast(lambda: stack.enter_async_context(self._consumer()), member.group)
            copying = asyncio.create_task(self._copy(consumer))
            try:
                await member.join(consumer, topics)
                await self._watch(consumer)
            finally:
                copying.cancel()
                await member.leave()
                await asyncio.wait([copying])
                await self._write(consumer, _LAST_S)

    def _consumer(self) -> AbstractAsyncContextManager[Consumer]:
        return self._lookup.kafka.consumer(
            None if self._member.alone else self._member.group,
            rebalance_s=self._patience.rebalance,
            fetch_max_bytes=_FETCH_BYTES,
            max_poll_interval_ms=_NEVER_MS,
        )

    async def _watch(self, consumer: Consumer) -> None:
        """Returns when the consumer is to be replaced. Raises LogRefused."""
        loop, member = asyncio.get_running_loop(), self._member
        assigned = loop.time()
        while not member.broken.is_set():
            try:
                async with asyncio.timeout(self._patience.look):
                    await member.broken.wait()
            except TimeoutError:
                self._check(consumer)
                if member.owned is not None or member.calling:
                    assigned = loop.time()
                    await self._look(loop.time())
                elif loop.time() - assigned > self._patience.unassigned and await self._answers():
                    member.give_up(f"nothing was assigned to it for {self._patience.unassigned:.0f} s")

    def _check(self, consumer: Consumer) -> None:
        try:
            with translated("being a member of a group"):
                check_membership(consumer)
        except LogRefused:
            raise
        except LogUnavailable as error:
            self._member.give_up(str(error))

    async def _look(self, now: float) -> None:
        cursor, member, patience = self._cursor, self._member, self._patience
        since, owned = cursor.hungry_since, member.owned
        if owned is None or since is None or now - since < patience.silent or now - cursor.asked > patience.silent:
            return
        try:
            ends = {partition: end for partition, (_, end) in (await self._lookup.bounds(owned)).items()}
            with translated("where it is"):
                behind = [p for p in owned if member.owned is owned and await cursor.position(p) < ends[p]]
        except LogError:  # no broker answers: that is why
            cursor.hungry_since = None
            return
        if behind and cursor.hungry_since == since:
            cursor.hungry_since = None
            place = f"{behind[0].topic}/{behind[0].number}"
            member.give_up(f"it gave nothing for {now - since:.0f} s, and {place} has messages for it")

    async def _answers(self) -> bool:
        try:
            await self._lookup.cluster(())
        except LogUnavailable:
            return False
        return True

    async def _copy(self, consumer: Consumer) -> None:
        while True:
            await asyncio.sleep(_COPY_S)
            await self._write(consumer, self._patience.look)

    async def _write(self, consumer: Consumer, patience: float) -> None:
        """Writes the copies of positions. One that is not written is no loss: the store's decide, and more come."""
        copies, self._cursor.copies = self._cursor.copies, {}
        mine = consumer.assignment()
        offsets = {place: copies[p] for p in copies if (place := self._lookup.place(p)) in mine}
        if not offsets or self._member.alone:
            return
        try:
            async with asyncio.timeout(patience):
                with translated("keeping a copy of positions"):
                    await consumer.commit(offsets)
        except (LogError, TimeoutError):
            return
