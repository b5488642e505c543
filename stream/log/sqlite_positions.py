"""Copies of the processors' positions, in the log's file, for tools."""

from asyncio import Future
from collections.abc import Mapping
from sqlite3 import Connection

from stream.log.sqlite_writer import Writer

_KEEP = (
    "INSERT INTO position (reader, partition_id, next) VALUES (?, ?, ?) "
    "ON CONFLICT (reader, partition_id) DO UPDATE SET next = excluded.next"
)


class PositionCopies:
    """Written one turn at a time, however often they change, and without waiting for the disk: these decide nothing,
    and appends must not queue behind them. What a failed turn did not write, the next one writes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._pending: dict[tuple[str, int], int] = {}
        self._turn: Future[None] | None = None

    def keep(self, group: str, positions: Mapping[int, int]) -> None:
        """Remembers the positions (row id of a partition → offset) of a group, to be written soon."""
        self._pending.update({(group, id): position for id, position in positions.items()})
        if self._turn is None:
            self.write()

    def write(self) -> None:
        """Queues a turn for what is pending."""
        if self._pending:
            written = dict(self._pending)
            self._turn = self._writer.turn(lambda connection: _write(connection, written), durable=False)
            self._turn.add_done_callback(lambda turn: self._done(turn, written))

    def _done(self, turn: Future[None], written: Mapping[tuple[str, int], int]) -> None:
        if turn is self._turn:
            self._turn = None
        if turn.cancelled() or turn.exception() is not None:
            return  # still pending
        self._pending = {key: value for key, value in self._pending.items() if written.get(key) != value}
        if self._turn is None:
            self.write()


def _write(connection: Connection, positions: Mapping[tuple[str, int], int]) -> None:
    connection.executemany(_KEEP, [(group, id, position) for (group, id), position in positions.items()])
