"""What we use of Kafka's client, with types: it has none of its own. Everything here is made by stream.log.kafka."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """As the client's: equal to its own, which it takes and gives."""

    topic: str
    partition: int


class Record(Protocol):
    """One message as a consumer gets it; `timestamp` in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Batch(Protocol):
    """Messages of one partition, built by us and sent whole."""

    def append(
        self, *, timestamp: int, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> object | None:
        """None: it is full, and closed."""
        ...

    def size(self) -> int: ...


class Producer(Protocol):
    """Writes batches."""

    def create_batch(self) -> Batch: ...

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Awaitable[object]:
        """What it answers is done once all replicas in sync have the batch."""
        ...


class Listener(Protocol):
    """Hears of the partitions of a member; what it raises is lost."""

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None: ...

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None: ...


class Consumer(Protocol):
    """Reads partitions, alone or as a member of a group."""

    def subscribe(self, topics: Collection[str], *, listener: Any) -> None: ...

    def assign(self, partitions: Collection[TopicPartition]) -> None: ...

    def assignment(self) -> frozenset[TopicPartition]: ...

    def seek(self, partition: TopicPartition, offset: int) -> None: ...

    async def position(self, partition: TopicPartition) -> int: ...

    def highwater(self, partition: TopicPartition) -> int | None: ...

    def pause(self, *partitions: TopicPartition) -> None: ...

    def resume(self, *partitions: TopicPartition) -> None: ...

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...

    async def committed(self, partition: TopicPartition) -> int | None: ...

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]: ...

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]: ...

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]: ...


Partitions = Mapping[str, int]
"""How many partitions each topic has, by the topic's name on Kafka."""

OnChange = Callable[[Partitions], None]
