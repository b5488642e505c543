"""Start: where a member begins to read the partitions that it was just assigned."""

from collections.abc import Collection, Mapping
from functools import partial

from msgspec import Struct

from stream.errors import LogUnavailable, PositionLost
from stream.log import Log, gap
from stream.message import Partition
from stream.outage import outlast
from stream.store import Store


class Owned(Struct, frozen=True):
    """A partition's position, and the claim under which this member may write it."""

    position: int
    claim: int


async def begin(processor: str, log: Log, store: Store, topics: Collection[str]) -> None:
    """Has a new processor start at the end of the log as it is now, whenever a member of it comes to run. A partition
    that a topic got later is read from its beginning, though: all that is there came after the processor began."""
    logs, bounds = await _look(log, topics)
    await _begin(processor, store, bounds, logs)


async def claim(
    processor: str, log: Log, store: Store, partitions: Collection[Partition], from_end: bool = False
) -> dict[Partition, Owned]:
    """Takes the partitions for one member of a processor, once log and store answer. A new one starts at the beginning
    of the log, or `from_end`; that is kept with the claim. Raises PositionLost where the log does not hold what is to
    be read next."""
    return await outlast(partial(_claim, processor, log, store, partitions, from_end), processor)


async def _claim(
    processor: str, log: Log, store: Store, partitions: Collection[Partition], from_end: bool
) -> dict[Partition, Owned]:
    logs, bounds = await _look(log, {partition.topic for partition in partitions})
    if unheard := [f"{p.topic}/{p.number}" for p in partitions if p not in bounds]:
        raise LogUnavailable(f"not every broker has heard of {', '.join(unheard)} yet")
    if from_end:
        await _begin(processor, store, bounds, logs)
    starts = {partition: bounds[partition][0] for partition in partitions}
    claimed = await store.positions.claim(processor, starts, logs)
    for partition, (position, _, of) in claimed.items():
        at = f"{processor} is at {position} of {partition.topic}/{partition.number}"
        if of != logs[partition.topic]:
            raise PositionLost(
                f"{at} in log {of}, and this is log {logs[partition.topic]}: the log was replaced, or its topic deleted"
                " and made again. Put the old one back, or see stream positions"
            )
        if lost := gap(position, bounds[partition]):
            raise PositionLost(f"{at}, and {lost}")
    return {partition: Owned(position, number) for partition, (position, number, _) in claimed.items()}


async def _look(log: Log, topics: Collection[str]) -> tuple[Mapping[str, str], Mapping[Partition, tuple[int, int]]]:
    logs, bounds = await log.identities(topics), await log.bounds(topics)
    if unheard := sorted(set(topics) - logs.keys()):
        raise LogUnavailable(f"not every broker has heard of {', '.join(unheard)} yet")
    return logs, bounds


async def _begin(
    processor: str, store: Store, bounds: Mapping[Partition, tuple[int, int]], logs: Mapping[str, str]
) -> None:
    known = await store.positions.places(processor)
    begun = {partition.topic for partition in known}
    starts = {p: first if p.topic in begun else end for p, (first, end) in bounds.items() if p not in known}
    if starts:
        await store.positions.begin(processor, starts, logs)
