"""Deletes what is old from the embedded log, a little at a time."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from heapq import merge
from operator import itemgetter
from sqlite3 import Connection
from typing import NamedTuple

_STEP_ROWS = 256
_STEP_BYTES = 4 * 1024 * 1024  # appends wait while a step runs: some ms

_Row = tuple[int, int, int, float, int]  # partition, first, next, time, bytes


class Retention(NamedTuple):
    """What may go: rows taken before `older_than` (seconds since the epoch), and, while the log holds more than
    `max_bytes` (0: no bound), more of them, the oldest first. Nothing at or beyond `keep_from`: row id of every
    partition → offset."""

    keep_from: Mapping[int, int]
    older_than: float
    max_bytes: int

    def step(self, connection: Connection) -> int:
        """Deletes the oldest rows. Returns how many messages they held: 0 when there is nothing more to delete."""
        excess = used_bytes(connection) - self.max_bytes if self.max_bytes else 0
        starts: dict[int, int] = {}
        messages = rows = size = 0
        with ExitStack() as stack:
            for id, first, end, time, length in self._oldest(connection, stack):
                fits = rows < _STEP_ROWS and size < _STEP_BYTES
                if not fits or not (time < self.older_than or size < excess):
                    break
                starts[id] = end
                messages, rows, size = messages + end - first, rows + 1, size + length
        for id, start in starts.items():
            connection.execute("DELETE FROM batch WHERE partition_id = ? AND next <= ?", (id, start))
            connection.execute("UPDATE partition SET start = ? WHERE id = ?", (start, id))
        return messages

    def _oldest(self, connection: Connection, stack: ExitStack) -> Iterator[_Row]:
        """Rows of all partitions that nobody needs, by time."""
        query = (
            "SELECT partition_id, first, next, time, length(data) FROM batch "
            "WHERE partition_id = ? AND next <= ? ORDER BY next"
        )
        cursors = [stack.enter_context(closing(connection.execute(query, limit))) for limit in self.keep_from.items()]
        return merge(*cursors, key=itemgetter(3))


def used_bytes(connection: Connection) -> int:
    """What the log holds. Its file does not shrink, but what was deleted is used again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
