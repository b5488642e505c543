"""What the embedded log took between two times, for those who belong to no processor."""

from collections import deque
from collections.abc import AsyncIterator, Mapping

from stream.log.sqlite_reader import Reader, Span
from stream.message import Delivery, Partition

_PAGE_MESSAGES = 1000
_PAGE_BYTES = 8 * 1024 * 1024


async def history(
    reader: Reader, ends: Mapping[Partition, int], since: float, until: float | None
) -> AsyncIterator[Delivery]:
    """All deliveries before `ends` that were taken from `since` on and before `until`: the partitions' batches in the
    order in which they were taken."""
    left = {p: Span(p, taken_at, _PAGE_MESSAGES) for p, (_, taken_at) in (await reader.bounds(ends, since)).items()}
    read: dict[Partition, deque[Delivery]] = {}
    while True:
        await _fill(reader, left, read, ends)
        if not read:
            return
        partition = min(read, key=lambda p: read[p][0].time)
        time = read[partition][0].time
        if until is not None and time >= until:
            return  # it is the earliest of what is left
        while read[partition] and read[partition][0].time == time:
            yield read[partition].popleft()
        if not read[partition]:
            del read[partition]


async def _fill(
    reader: Reader, left: dict[Partition, Span], read: dict[Partition, deque[Delivery]], ends: Mapping[Partition, int]
) -> None:
    """Reads on, until every partition that has more has something in `read`."""
    while hungry := [span for p, span in left.items() if p not in read and span.position < ends[p]]:
        for partition, page in (await reader.pages(hungry, _PAGE_BYTES)).items():
            if found := [delivery for delivery in page.deliveries if delivery.offset < ends[partition]]:
                read[partition] = deque(found)
                left[partition] = Span(partition, found[-1].offset + 1, _PAGE_MESSAGES)
            else:  # retention was faster
                del left[partition]
