"""One member's reading of Kafka: fair over its partitions, and never of one that was revoked."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from stream.errors import LogError, LogRefused, LogUnavailable, PositionLost
from stream.log import gap, lost
from stream.log.kafka import out_of_range, translated
from stream.log.kafka_client import Record, TopicPartition
from stream.log.kafka_lookup import Lookup
from stream.log.kafka_member import MISSING_S, Member, Owned, deleted, made_again
from stream.message import Delivery, Message, Partition

_FETCH_BYTES = 8 * 1024 * 1024
_UNSEEN_BYTES = 1024 * 1024  # what a message is taken for before one was seen
_REST_S = 0.02
_RESTED_S = 1.0  # nobody asked for so long: that it gave nothing says nothing
_SAME_S = 1.0  # a topic that was made again is noticed after so long, before anything more of it is handed out


class KafkaCursor:
    """See Cursor. `wait`: for how long a fetch waits, in s."""

    def __init__(self, member: Member, lookup: Lookup, until: Mapping[Partition, int] | None, wait: float) -> None:
        self._member = member
        self._lookup = lookup
        self._until = until
        self._wait = wait
        self._reading: Reading | None = None
        self.copies: dict[Partition, int] = {}
        """Positions that tools are to see, not written yet."""
        self.hungry_since: float | None = None
        """Since when each fetch found nothing."""
        self.asked = 0.0
        """When the last fetch ended, by the loop's clock."""

    async def fetch(self, limit: int) -> list[Delivery]:
        """See Cursor. About 8 MiB at most, unless a single message is larger."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        rested = begun - self.asked > _RESTED_S
        deadline = begun + self._wait
        found: list[Delivery] = []
        while not found:
            self._member.changed.clear()
            last = loop.time() >= deadline
            found = await self._take(limit, max(0.0, deadline - loop.time()))
            if found or last:
                break
            # Whether it owns nothing or was refused at once: to ask again at once would keep everybody else waiting.
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline if self._member.owned is None else loop.time() + _REST_S):
                    await self._member.changed.wait()
        self.asked = loop.time()
        if found or self._member.owned is None:
            self.hungry_since = None
        elif self.hungry_since is None or rested:
            self.hungry_since = begun
        return found

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """See Cursor. Written soon, not now."""
        self.copies.update(positions)

    async def position(self, partition: Partition) -> int:
        """What it reads next of a partition that it owns."""
        owned = self._member.owned
        return 0 if owned is None else await owned.consumer.position(self._lookup.place(partition))

    async def _take(self, limit: int, wait: float) -> list[Delivery]:
        member = self._member
        member.check()
        owned = member.owned
        if owned is None:
            return []
        if self._reading is None or self._reading.owned is not owned:
            self._reading = Reading(owned, self._lookup, self._until)
        reading = self._reading
        try:
            # The client itself waits for longer while it is being assigned something else.
            async with asyncio.timeout(wait + 0.05):
                if not await reading.same() or member.owned is not owned:
                    return []
                with translated("reading"):
                    if await reading.ended():
                        raise StopAsyncIteration
                    found = await reading.take(limit, wait)
        except TimeoutError:
            found = []
        except (LogRefused, PositionLost):
            raise
        except LogError as error:
            await self._failed(reading, error)
            return []
        member.check()
        return found if member.owned is owned else []

    async def _failed(self, reading: "Reading", error: LogError) -> None:
        if self._member.owned is not reading.owned:
            return
        positions = out_of_range(error)
        if positions is None:
            self._member.give_up(str(error))
            return
        try:
            await reading.check(positions)
        except LogRefused:
            raise
        except LogUnavailable:
            return  # it fails once more


class Reading:
    """Of one assignment."""

    def __init__(self, owned: Owned, lookup: Lookup, until: Mapping[Partition, int] | None) -> None:
        self.owned = owned
        self._lookup = lookup
        self._consumer = owned.consumer
        self._places: dict[TopicPartition, Partition] = {lookup.place(partition): partition for partition in owned}
        self._topics = sorted({partition.topic for partition in owned})
        self._next = {place: owned[partition] for place, partition in self._places.items()}
        self._turns = list(self._places)  # whose turn it is, first to last
        self._until = None if until is None else {place: until.get(p) for place, p in self._places.items()}
        self._each = float(_UNSEEN_BYTES)  # bytes of a message, on average
        self._same = asyncio.get_running_loop().time()  # when the topics were last looked at
        self._missing: float | None = None  # since when one of them is not there
        self._looking: asyncio.Task[dict[str, str]] | None = None
        # Is the client past what nobody was given? It may be after a take() that ended half-way, this one's or that of
        # the assignment before, during which the client was given this one.
        self._torn = True

    async def same(self) -> bool:
        """Are the topics still those that were assigned? False: nobody says so now. Raises PositionLost if not."""
        now = asyncio.get_running_loop().time()
        if now - self._same < _SAME_S:
            return True
        if self._looking is None:
            self._looking = asyncio.create_task(self._lookup.identities(self._topics))
            self._looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        looking = self._looking
        try:
            found = await asyncio.shield(looking)  # it may take longer than this fetch waits
        except LogRefused:
            raise
        except LogUnavailable:
            return False
        finally:
            if looking.done():
                self._looking = None
        for topic in self._topics:
            if (of := found.get(topic)) is not None and of != self.owned.identities.get(topic):
                raise made_again(topic)
        if len(found) < len(self._topics):
            self._missing = now if self._missing is None else self._missing
            if now - self._missing > MISSING_S:
                raise deleted(topic for topic in self._topics if topic not in found)
            return False
        self._same, self._missing = now, None
        return True

    async def ended(self) -> bool:
        """Has every partition been read to its end?"""
        if self._until is None:
            return False
        left = False
        for place, end in self._until.items():
            if end is None or await self._consumer.position(place) < end:
                left = True
            else:
                self._consumer.pause(place)
        return not left

    async def take(self, limit: int, wait: float) -> list[Delivery]:
        """At most `limit` in all, fairly of those partitions that are known to have something; who comes last now comes
        first next."""
        if self._torn:
            for place, at in self._next.items():
                self._consumer.seek(place, at)
        self._torn = True
        found: dict[TopicPartition, list[Record]] = {}
        room = max(1, min(limit, int(_FETCH_BYTES / self._each)))
        busy = [place for place in self._turns if self._next[place] < (self._consumer.highwater(place) or 0)]
        if len(busy) > 1:
            self._turns = self._turns[1:] + self._turns[:1]
            found = await self._shares(busy, room)
        if not found:
            found = await self._consumer.getmany(timeout_ms=int(wait * 1000), max_records=room)
        self._torn = False
        return self._deliveries(found)

    async def _shares(self, busy: Sequence[TopicPartition], room: int) -> dict[TopicPartition, list[Record]]:
        found: dict[TopicPartition, list[Record]] = {}
        while busy and room:
            share, full = max(1, room // len(busy)), []
            for place in busy[:room]:
                records = (await self._consumer.getmany(place, max_records=share)).get(place, [])
                room -= len(records)
                if records:
                    found.setdefault(place, []).extend(records)
                if len(records) == share:
                    full.append(place)
            busy = full
        return found

    def _deliveries(self, found: Mapping[TopicPartition, Sequence[Record]]) -> list[Delivery]:
        deliveries: list[Delivery] = []
        size = 0
        for place, records in found.items():
            partition = self._places.get(place)
            if partition is None:  # of the next assignment, whose reader goes back to where it starts
                continue
            end = None if self._until is None else self._until[place]
            for record in records:
                delivery = delivered(record, partition)
                if end is None or delivery.offset < end:
                    deliveries.append(delivery)
                size += len(delivery.message.value or b"")
            self._next[place] = records[-1].offset + 1
        if deliveries:
            self._each = max(64.0, size / len(deliveries))
        return deliveries

    async def check(self, positions: Mapping[TopicPartition, int]) -> None:
        """A broker said that it does not hold these. Raises PositionLost, unless a newer look says that it does: one
        that follows another may have been behind."""
        self._same = float("-inf")
        if not await self.same():
            return
        bounds = await self._lookup.bounds([self._places[place] for place in positions])
        for place, position in positions.items():
            partition = self._places[place]
            if why := gap(position, bounds[partition]):
                raise lost(partition, position, why)


def delivered(record: Record, partition: Partition) -> Delivery:
    """A record as ours. Other producers leave out keys, and values of headers."""
    headers = tuple(record.headers)
    for _, value in headers:
        if value is None:
            headers = tuple((name, value or b"") for name, value in headers)
            break
    message = Message(partition.topic, record.key or b"", record.value, headers)
    return Delivery(message, partition, record.offset, record.timestamp / 1000)
