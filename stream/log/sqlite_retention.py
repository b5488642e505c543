"""Deletes what is old from the embedded log, a little at a time."""

from collections.abc import Mapping
from sqlite3 import Connection
from typing import NamedTuple

_STEP_ROWS = 256
_STEP_BYTES = 4 * 1024 * 1024  # appends wait while a step runs: some ms
_ALL = 2**63 - 1


class Retention(NamedTuple):
    """What may go: rows taken before `older_than` (seconds since the epoch), and, while the log holds more than
    `max_bytes` (0: no bound), more of them, the oldest first. Nothing at or beyond `keep_from` (row id of a partition →
    offset); a partition that is not in it may go whole."""

    keep_from: Mapping[int, int]
    older_than: float
    max_bytes: int

    def step(self, connection: Connection) -> int:
        """Deletes some rows of the partition whose first one is the oldest. Returns how many messages they held: 0 when
        there is nothing more to delete."""
        excess = used_bytes(connection) - self.max_bytes if self.max_bytes else 0
        ids = [id for (id,) in connection.execute("SELECT id FROM partition").fetchall()]
        oldest = [(row[2], id) for id in ids for row in self._rows(connection, id, 1)]
        _, id = min(oldest, default=(0.0, 0))
        first = last = size = 0
        for row_first, row_next, time, length in self._rows(connection, id, _STEP_ROWS):
            if size >= _STEP_BYTES or not (time < self.older_than or size < excess):
                break
            first = row_first if last == 0 else first
            last = row_next
            size += length
        connection.execute("DELETE FROM batch WHERE partition_id = ? AND next <= ?", (id, last))
        connection.execute("UPDATE partition SET start = max(start, ?) WHERE id = ?", (last, id))
        return last - first

    def _rows(self, connection: Connection, id: int, limit: int) -> list[tuple[int, int, float, int]]:
        """The first rows of a partition that no reader needs: first, next, time, bytes."""
        return connection.execute(
            "SELECT first, next, time, length(data) FROM batch "
            "WHERE partition_id = ? AND next <= ? ORDER BY next LIMIT ?",
            (id, self.keep_from.get(id, _ALL), limit),
        ).fetchall()


def used_bytes(connection: Connection) -> int:
    """What the log holds. Its file does not shrink, but what was deleted is used again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
