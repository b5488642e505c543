"""Lag: how far each processor is behind the log."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from stream import topics
from stream.log import Log
from stream.message import Partition
from stream.processor import Projection


class Lag(Struct, frozen=True):
    """One processor's lag in messages, per partition; `behind` is the sum."""

    processor: str
    partitions: dict[Partition, int]

    @property
    def behind(self) -> int:
        return sum(self.partitions.values())


async def measure(
    log: Log, positions: Mapping[str, Mapping[Partition, int]], projections: Iterable[Projection]
) -> list[Lag]:
    """The lag of each projection; one that never ran is behind by all that the log holds."""
    bounds = await log.bounds(topics.RAW.values())
    found = []
    for projection in projections:
        read = {topics.RAW[kind] for kind in projection.topics}
        at = positions.get(projection.name, {})
        behind = {p: max(end - at.get(p, first), 0) for p, (first, end) in bounds.items() if p.topic in read}
        found.append(Lag(projection.name, behind))
    return found


def read_up_to(
    positions: Mapping[str, Mapping[Partition, int]], projections: Iterable[Projection], partitions: Iterable[Partition]
) -> dict[Partition, int]:
    """Before which offset every projection has read each partition that any of them reads; 0 for one that never ran.
    A log may delete nothing at or after it."""
    every = list(partitions)
    keep: dict[Partition, int] = {}
    for projection in projections:
        read = {topics.RAW[kind] for kind in projection.topics}
        at = positions.get(projection.name, {})
        for partition in every:
            if partition.topic in read:
                keep[partition] = min(keep.get(partition, at.get(partition, 0)), at.get(partition, 0))
    return keep
