"""Log and Cursor: where messages are kept in order, durably, for many readers.

The words, before the methods:

- A *topic* has a fixed number of *partitions*; a message's partition is murmur2(key) modulo that number, as in Kafka's
  Java client. Messages of one partition are in the order of their *offsets*, which only grow and may have gaps.
- *Durable* means that it survives kill -9 and loss of power.
- A *group* is all members that share one processor's partitions: each partition has at most one member at a time.
- A *position* is the offset of the next delivery that a processor has to deal with. It is kept in the store, not here;
  what is committed here is a copy for tools.
- A partition's *bounds* are its first offset that is still kept, and the offset that the next message will get.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from stream.errors import PositionLost
from stream.message import Delivery, Message, Partition

OnAssign = Callable[[Collection[Partition]], Awaitable[Mapping[Partition, int]]]
"""Called with the partitions that a member now owns; answers where to start in each. If it raises, so does fetch."""

OnRevoke = Callable[[Collection[Partition]], Awaitable[None]]
"""Called before the partitions go to another member. Nothing of them is fetched afterwards."""


class Cursor(Protocol):
    """One member of one processor."""

    async def fetch(self, limit: int) -> list[Delivery]:
        """At most `limit` deliveries of the partitions owned now, in order within each partition; none after a short
        wait. Advances this member past them. Membership lives on between calls. With `until`, raises StopAsyncIteration
        once every owned partition has been read to its end."""
        ...

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """Keeps a copy of the positions for tools and for lag. Never decides where anything starts."""
        ...


class Log(Protocol):
    """Where messages are kept in order, durably, for many readers."""

    async def identities(self, topics: Collection[str]) -> Mapping[str, str]:
        """Names each of these very topics: in a file that was replaced, or another cluster, or deleted and made again,
        a topic has another identity. One that does not exist has none."""
        ...

    async def append(self, messages: Sequence[Message]) -> None:
        """Returns once every message is durable. Raises LogFull (none was kept) or LogUnavailable (any may not be)."""
        ...

    def consume(
        self,
        group: str,
        topics: Collection[str],
        on_assign: OnAssign,
        on_revoke: OnRevoke,
        until: Mapping[Partition, int] | None = None,
    ) -> AbstractAsyncContextManager[Cursor]:
        """Joins the group while the context is open. Leaving revokes. Joins and leaves of others revoke all partitions
        of every member, then assign anew, by range."""
        ...

    def read(self, topic: str, since: float = 0.0, until: float | None = None) -> AsyncIterator[Delivery]:
        """All deliveries of a topic that the log took at or after `since` (seconds since the epoch) and before `until`,
        in order within each partition. Ends at the end of the log as it was when the first was asked for. Belongs to no
        processor."""
        ...

    async def bounds(self, topics: Collection[str], at: float | None = None) -> dict[Partition, tuple[int, int]]:
        """First and next offset of every partition; with `at`, instead of the next offset, that of the first message
        taken at or after that time."""
        ...


class Running(Log, Protocol):
    """A log that a process runs on."""

    @property
    def queued_bytes(self) -> int:
        """What waits to be written, or is being written."""
        ...

    async def trouble(self) -> str | None:
        """Why nothing can be appended now; None if something can."""
        ...


def gap(position: int, bounds: tuple[int, int]) -> str | None:
    """What is wrong with a position, as a clause; None: the log holds what is to be read next, or will."""
    first, end = bounds
    if position < first:
        return f"the log begins at {first}: {first - position} messages are gone unread"
    if position > end:
        return f"the log ends at {end}: it lost messages that were already dealt with"
    return None


def lost(partition: Partition, position: int, why: str | None) -> PositionLost:
    """What a member that reads there raises; `why` as gap() says it."""
    return PositionLost(f"{partition.topic}/{partition.number}: {position} is to be read next, but {why}")
