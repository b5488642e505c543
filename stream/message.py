"""Message, Partition, Delivery: what is written to a log, where it lies, and how it comes to a processor."""

from typing import NamedTuple

from msgspec import Struct

Headers = tuple[tuple[str, bytes], ...]


class Partition(NamedTuple):
    """One ordered part of a topic."""

    topic: str
    number: int


class Message(Struct, frozen=True, gc=False, array_like=True):
    """What is written to a log. `value` is the bytes as received, or None, which compaction takes for "gone". Has no
    position."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers = ()


class Delivery(Struct, frozen=True, gc=False):
    """One message on its way to one processor; `time` is when the log took it, in seconds since the epoch."""

    message: Message
    partition: Partition
    offset: int
    time: float
