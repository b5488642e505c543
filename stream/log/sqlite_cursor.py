"""One member's reading of the embedded log: fair over its partitions, and never of one that was revoked."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from stream.log import gap, lost
from stream.log.members import Member
from stream.log.sqlite_reader import Page, Reader, Span
from stream.log.sqlite_tail import Tail
from stream.message import Delivery, Partition

_FETCH_BYTES = 8 * 1024 * 1024
_LEAST_READ = 256  # messages: a row that holds one message is not worth a visit to a thread


class Feed(NamedTuple):
    """What all cursors of a log read from. `ends`: the offset that each partition's next message will get, as far as
    this process knows; if another one writes, they are `asked` for at each fetch. `wait`: for how long, in s. `tail`:
    what this process wrote last."""

    reader: Reader
    ends: dict[Partition, int]
    asked: bool
    wait: float
    tail: Tail


class SqliteCursor:
    """See Cursor. What a decoded row held beyond a fetch is kept for the next one."""

    def __init__(
        self,
        feed: Feed,
        member: Member,
        until: Mapping[Partition, int] | None,
        keep: Callable[[Mapping[Partition, int]], None],
    ) -> None:
        self._feed = feed
        self._member = member
        self._until = until
        self._keep = keep
        self._reading = _Reading({}, None)

    async def fetch(self, limit: int) -> list[Delivery]:
        """See Cursor. About 8 MiB at most, unless a single message is larger."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._feed.wait
        while True:
            self._member.changed.clear()
            last = loop.time() >= deadline
            if (taken := await self._take(limit)) or last:
                await asyncio.sleep(0)  # also whoever does not wait, and asks again at once, lets others run
                return taken
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._member.changed.wait()

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """See Cursor. Written soon, not now; should that fail, the next one writes it too."""
        self._keep(positions)

    async def _take(self, limit: int) -> list[Delivery]:
        self._member.check()
        if self._member.assigned is None:
            return []
        if self._reading.assigned is not self._member.assigned:
            self._reading = _Reading(self._member.assigned, self._until)
        reading = self._reading
        if self._feed.asked:
            self._feed.ends.update(await self._feed.reader.ends())
        if spans := reading.hungry(self._feed.ends, limit):
            pages = self._feed.tail.pages(spans, _FETCH_BYTES)
            if pages is None:
                pages = await self._feed.reader.pages(spans, _FETCH_BYTES)
            # A page may come when its partition has just been revoked: then it is dropped, with all that was kept.
            if self._member.assigned is reading.assigned:
                reading.feed(spans, pages, self._feed.ends)
        self._member.check()
        if self._member.assigned is not reading.assigned:
            return []
        if reading.ended:
            raise StopAsyncIteration
        return reading.take(limit)


class _Kept:
    """Of one partition: what has been read and not yet taken."""

    def __init__(self, position: int, until: int | None) -> None:
        self.position = position  # of what is read next
        self.until = until
        self.deliveries: list[Delivery] = []
        self.taken = 0
        self.each = 0.0  # bytes, on average

    def __len__(self) -> int:
        return len(self.deliveries) - self.taken

    @property
    def ended(self) -> bool:
        return self.until is not None and self.position >= self.until and not len(self)

    def feed(self, page: Page, partition: Partition) -> None:
        first = page.deliveries[0].offset if page.deliveries else None
        if first != self.position:
            why = "the log no longer holds it" if first is None else gap(self.position, (first, first))
            raise lost(partition, self.position, why)
        end = page.deliveries[-1].offset + 1
        self.each = page.size / (end - first)
        fresh = page.deliveries if self.until is None else page.deliveries[: self.until - first]
        self.deliveries = self.deliveries[self.taken :] + fresh
        self.taken = 0
        self.position = end

    def take(self, messages: int) -> list[Delivery]:
        taken = self.deliveries[self.taken : self.taken + messages]
        self.taken += len(taken)
        return taken


class _Reading:
    """Of one assignment: no await in here, so nothing can be revoked half-way."""

    def __init__(self, assigned: Mapping[Partition, int], until: Mapping[Partition, int] | None) -> None:
        self.assigned = assigned
        self._ends_fixed = until is not None
        self._kept = {
            partition: _Kept(position, until.get(partition) if until is not None else None)
            for partition, position in assigned.items()
        }
        self._turns = list(assigned)  # whose turn it is, first to last

    @property
    def ended(self) -> bool:
        return self._ends_fixed and all(kept.ended for kept in self._kept.values())

    def hungry(self, ends: Mapping[Partition, int], limit: int) -> list[Span]:
        """What to read, so that each partition can give its share."""
        share = max(1, limit // max(1, len(self._turns)))
        found = []
        for partition in self._turns:
            kept, end = self._kept[partition], ends[partition]
            if kept.position > end:
                raise lost(partition, kept.position, gap(kept.position, (end, end)))
            if len(kept) < share and kept.position < min(end, end if kept.until is None else kept.until):
                found.append(Span(partition, kept.position, max(share - len(kept), _LEAST_READ)))
        return found

    def feed(self, spans: list[Span], pages: Mapping[Partition, Page], ends: dict[Partition, int]) -> None:
        """Keeps what was read. A reader may see a commit before the loop has heard of it: then it hears of it here."""
        for partition in [span.partition for span in spans if span.partition in pages]:
            kept = self._kept[partition]
            kept.feed(pages[partition], partition)
            ends[partition] = max(ends[partition], kept.position)

    def take(self, limit: int) -> list[Delivery]:
        """At most `limit` in all, the same number from each that has so many; who comes last now comes first next."""
        taken: list[Delivery] = []
        size = 0.0
        while len(taken) < limit and size < _FETCH_BYTES:
            full = [partition for partition in self._turns if len(self._kept[partition])]
            if not full:
                break
            share = max(1, (limit - len(taken)) // len(full))
            for partition in full:
                kept = self._kept[partition]
                room = max(1, int((_FETCH_BYTES - size) / max(1.0, kept.each)))
                some = kept.take(min(share, limit - len(taken), room))
                taken += some
                size += len(some) * kept.each
                if len(taken) >= limit or size >= _FETCH_BYTES:
                    break
        self._turns = self._turns[1:] + self._turns[:1]
        return taken
