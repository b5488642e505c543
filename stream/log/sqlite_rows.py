"""The rows of the embedded log: a row is a record batch, msgpack of list[Message], of one partition and one commit."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count, repeat
from sqlite3 import Connection
from struct import pack

import msgspec

from stream.message import Delivery, Message, Partition

_ROW_BYTES = 1024 * 1024
_ROW_MESSAGES = 4096

_STATEMENT_ROWS = 128  # SQLite takes some thousand

Row = tuple[int, int, int, float, bytes]

Ends = dict[int, int]
"""Row id of a partition → the offset that its next message will get."""

encode = msgspec.msgpack.Encoder().encode
"""One message; so the size of what waits is known, and a row is made by joining."""

_decode = msgspec.msgpack.Decoder(list[Message]).decode


def laid_out(appends: Iterable[Mapping[int, Sequence[bytes]]], ends: Ends, time: float) -> tuple[list[Row], Ends]:
    """The rows of one commit, in the order of the appends within each partition, and the ends of those it touches."""
    merged: dict[int, list[bytes]] = {}
    for parts in appends:
        for partition_id, messages in parts.items():
            merged.setdefault(partition_id, []).extend(messages)
    rows: list[Row] = []
    touched: Ends = {}
    for partition_id, messages in merged.items():
        first = ends[partition_id]
        for batch in _cut(messages):
            rows.append((partition_id, first, first + len(batch), time, _head(len(batch)) + b"".join(batch)))
            first += len(batch)
        touched[partition_id] = first
    return rows, touched


def write(connection: Connection, rows: Sequence[Row]) -> None:
    """Commits the rows, all or none.

    Each statement gives the interpreter up and has to get it back from a busy loop, which takes up to a switch
    interval; one INSERT is a transaction by itself."""
    if len(rows) <= _STATEMENT_ROWS:
        _insert(connection, rows)
        return
    connection.execute("BEGIN IMMEDIATE")
    for start in range(0, len(rows), _STATEMENT_ROWS):
        _insert(connection, rows[start : start + _STATEMENT_ROWS])
    connection.execute("COMMIT")


def deliveries(partition: Partition, first: int, time: float, data: bytes) -> Iterable[Delivery]:
    """What a row holds."""
    return map(Delivery, _decode(data), repeat(partition), count(first), repeat(time))


def read_ends(connection: Connection) -> Ends:
    """The end of every partition, as it is in the file."""
    return dict(
        connection.execute(
            "SELECT id, max(start, coalesce((SELECT max(next) FROM batch WHERE partition_id = partition.id), 0)) "
            "FROM partition"
        ).fetchall()
    )


def newest_time(connection: Connection) -> float:
    """When the last commit was made, 0.0 if nothing is kept."""
    row = connection.execute("SELECT time FROM batch ORDER BY id DESC LIMIT 1").fetchone()
    return float(row[0]) if row else 0.0


def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    values = ", ".join(["(?, ?, ?, ?, ?)"] * len(rows))
    connection.execute(
        f"INSERT INTO batch (partition_id, first, next, time, data) VALUES {values}", tuple(chain.from_iterable(rows))
    )


def _cut(messages: list[bytes]) -> Iterable[list[bytes]]:
    """Pieces that fit a row; a message that is too large by itself gets one of its own."""
    start = size = 0
    for index, message in enumerate(messages):
        if index > start and (size + len(message) > _ROW_BYTES or index - start == _ROW_MESSAGES):
            yield messages[start:index]
            start, size = index, 0
        size += len(message)
    yield messages[start:]


def _head(length: int) -> bytes:
    """The start of a msgpack array."""
    return pack("B", 0x90 | length) if length < 16 else pack(">BH", 0xDC, length)
