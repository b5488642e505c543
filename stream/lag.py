"""Lag: how far each processor is behind the log."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from stream import topics
from stream.log import Log
from stream.message import Partition
from stream.processor import Processor, Reactor, Sync


class Reader(Struct, frozen=True):
    """Who reads which topics (their full names). A new one starts at their beginning, or `from_end`."""

    name: str
    topics: tuple[str, ...]
    from_end: bool = False


class Lag(Struct, frozen=True):
    """One processor's lag in messages, per partition; `behind` is the sum."""

    processor: str
    partitions: dict[Partition, int]

    @property
    def behind(self) -> int:
        return sum(self.partitions.values())


def readers(processors: Iterable[Processor]) -> list[Reader]:
    """What processors read."""
    return [_reader(processor) for processor in processors]


async def measure(log: Log, positions: Mapping[str, Mapping[Partition, int]], readers: Iterable[Reader]) -> list[Lag]:
    """The lag of each reader. One that never ran is behind by all that it will read: nothing, if it starts at the
    end."""
    every = list(readers)
    bounds = await log.bounds({topic for one in every for topic in one.topics})
    found = []
    for one in every:
        at = positions.get(one.name, {})
        begun = {partition.topic for partition in at}  # of these, partitions that were added are read whole
        behind = {
            p: max(end - at.get(p, end if one.from_end and p.topic not in begun else first), 0)
            for p, (first, end) in bounds.items()
            if p.topic in one.topics
        }
        found.append(Lag(one.name, behind))
    return found


def read_up_to(
    positions: Mapping[str, Mapping[Partition, int]], readers: Iterable[Reader], partitions: Iterable[Partition]
) -> dict[Partition, int]:
    """Before which offset every reader has read each partition that any of them reads; 0 for one that never ran, unless
    it will start at the end. A log may delete nothing at or after it."""
    every = list(partitions)
    keep: dict[Partition, int] = {}
    for one in readers:
        at = positions.get(one.name, {})
        for partition in every:
            if partition.topic in one.topics and (partition in at or not one.from_end):
                keep[partition] = min(keep.get(partition, at.get(partition, 0)), at.get(partition, 0))
    return keep


def _reader(processor: Processor) -> Reader:
    if isinstance(processor, Sync):
        return Reader(processor.name, (topics.PERSON_CHANGED,), from_end=True)
    read = tuple(topics.RAW[kind] for kind in processor.topics)
    return Reader(processor.name, read, from_end=isinstance(processor, Reactor))
