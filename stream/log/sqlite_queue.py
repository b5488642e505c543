"""What waits for the writer of the embedded log, in order."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any

from msgspec import Struct

_GROUP_BYTES = 16 * 1024 * 1024  # bounds how long the first of a group waits for the last


class Append(Struct, eq=False):
    """Some messages, encoded, by the row id of their partition; `done` when they are durable."""

    parts: Mapping[int, Sequence[bytes]]
    count: int
    size: int
    done: asyncio.Future[None]


class Turn(Struct, eq=False):
    """Other work of the writer, in a transaction of its own. If it is not `durable`, a loss of power may undo it."""

    work: Callable[[Connection], Any]
    durable: bool
    done: asyncio.Future[Any]


class Queue:
    """First in, first out, from the loop to the writer's thread."""

    def __init__(self) -> None:
        self._items: deque[Append | Turn] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, items: Iterable[Append | Turn]) -> None:
        """Adds to the end."""
        with self._changed:
            self._items.extend(items)
            self._changed.notify()

    def close(self) -> None:
        """Nothing more comes: take() answers None once it is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> list[Append] | Turn | None:
        """Waits for something. Answers a turn, or all appends up to the next one, about 16 MiB of them at most."""
        with self._changed:
            while not self._items:
                if self._closed:
                    return None
                self._changed.wait()
            first = self._items.popleft()
            if isinstance(first, Turn):
                return first
            group, size = [first], first.size
            while self._items and size < _GROUP_BYTES and isinstance(item := self._items[0], Append):
                self._items.popleft()
                group.append(item)
                size += item.size
            return group
