"""Eraser: the second step of a deletion.

The first step, a tombstone for every known subject, is in the deletion projection's own transaction: from then on
nothing older is remembered. What lies before the ends of the log as they were then may still say who else the person
is; so erasure waits until every projection has passed them. It then notes the addresses that destinations may know,
removes rows, links and held deliveries of every subject found by then, and has null published for every key. From then
on it is the destinations' turn (their syncs are told by a mark); once all have deleted, the request is closed. What
remains is a receipt: hashes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from stream import topics
from stream.batch import Surroundings
from stream.core.sheet import without
from stream.message import Partition
from stream.outage import outlast
from stream.processor import Projection
from stream.publisher import Publisher
from stream.store import Mark
from stream.store.database import Transaction
from stream.store.deletions import Deletion
from stream.store.erasing import identifiers

logger = structlog.get_logger()

NAME = "eraser"
ALARM_S = 3_600.0  # a request that waits longer for a projection is reported, once an hour
OVERDUE_S = 7 * 86_400.0  # one that is not done by then is reported, once a day
_DAY_S = 86_400.0
_LOOK_S = 0.5


class Eraser:
    """Carries out deletions once the projections are ready for it."""

    def __init__(self, around: Surroundings, projections: Sequence[Projection], publisher: Publisher) -> None:
        self._around = around
        self._projections = projections
        self._publisher = publisher
        tables = [table for projection in projections for table in projection.tables().values()]
        self._decoders = {table.name: msgspec.json.Decoder(table.kind) for table in tables}
        self._alarmed: dict[str, float] = {}
        self._overdue: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled. Of several processes one does it."""
        duties, clock = self._around.store.duties, self._around.clock
        while True:
            if await outlast(lambda: duties.mine(NAME, clock()), NAME):
                await outlast(self.step, NAME)
            await asyncio.sleep(_LOOK_S)

    async def step(self) -> None:
        """Brings every unfinished request as far as it can be brought now."""
        store, metrics, now = self._around.store, self._around.metrics, self._around.clock()
        unfinished = await store.deletions.unfinished(asked_before=now - OVERDUE_S)
        metrics.deletions_open.set(unfinished.amount)
        metrics.deletions_overdue.set(len(unfinished.overdue))
        self._remind(unfinished.overdue, now)
        for deletion in unfinished.open:
            await self._advance(deletion)
        if unfinished.amount > len(unfinished.open):
            await self._publisher.recover()  # the last process may have ended between erasing and telling destinations
        for number in unfinished.finishable:
            await store.deletions.finish(number, now)

    async def _advance(self, deletion: Deletion) -> None:
        store, log = self._around.store, self._around.log
        if deletion.ends is None:
            bounds = await log.bounds(topics.RAW.values())
            await store.deletions.note_ends(deletion.id, {p: end for p, (_, end) in bounds.items()})
        elif behind := waits_for(deletion.ends, await store.positions.all(), self._projections):
            self._alarm(deletion, behind)
        else:
            await self._publisher.publish(await self._erase(deletion))
            await store.deletions.finish(deletion.id, self._around.clock())

    async def _erase(self, deletion: Deletion) -> list[Mark]:
        store = self._around.store
        tables = await store.tables()

        async def write(tx: Transaction) -> list[Mark]:
            if not await store.erasing.is_due(tx, deletion.id):
                return []
            grave = await store.erasing.grave(tx, deletion.id)
            rows = await store.erasing.rows(tx, grave, tables)
            named = identifiers((table, value) for table, _, _, value in rows)
            await store.deletions.collect(tx, deletion.id, grave.subjects, named, self._around.clock())
            erased = await store.erasing.erase(tx, grave, rows, self._prune)
            await store.deletions.erased(tx, deletion.id, erased)
            return await store.marks.add(tx, NAME, [(subject, "deletion") for subject in grave.subjects])

        return await store.db.writing(write)

    def _prune(self, table: str, value: str, time: float) -> str | None:
        decoder = self._decoders.get(table.partition("@")[0])
        row: Any = None if decoder is None else without(decoder.decode(value), time)
        return None if row is None else msgspec.json.encode(row).decode()

    def _alarm(self, deletion: Deletion, behind: Sequence[str]) -> None:
        now = self._around.clock()
        if now - max(deletion.asked, self._alarmed.get(deletion.id, 0.0)) >= ALARM_S:
            self._alarmed[deletion.id] = now
            logger.warning("deletion_waits", request=deletion.id, processors=list(behind))

    def _remind(self, overdue: Mapping[str, Sequence[str]], now: float) -> None:
        self._overdue = {number: self._overdue.get(number, float("-inf")) for number in overdue}
        for number, destinations in overdue.items():
            if now - self._overdue[number] >= _DAY_S:
                self._overdue[number] = now
                logger.warning("deletion_overdue", request=number, destinations=list(destinations))


def waits_for(
    ends: Mapping[Partition, int],
    positions: Mapping[str, Mapping[Partition, int]],
    projections: Sequence[Projection],
) -> list[str]:
    """The projections that have not passed these ends."""
    behind = []
    for projection in projections:
        read = {topics.RAW[kind] for kind in projection.topics}
        at = positions.get(projection.name, {})
        if any(at.get(p, -1) < end for p, end in ends.items() if p.topic in read and end > 0):
            behind.append(projection.name)
    return behind
