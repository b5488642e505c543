"""The table `refused`, in a file that all receivers of a spill folder share with the commands."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection

import msgspec
from msgspec import Struct

from stream import private
from stream.errors import LogError, LogFull, LogUnavailable
from stream.log.sqlite_file import writable
from stream.message import Message

_SCHEMA = """
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, size INTEGER NOT NULL, message BLOB NOT NULL)
"""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Kept(Struct, frozen=True):
    """One refused message; `time`: when it was, in seconds since the epoch."""

    id: int
    time: float
    message: Message


class RefusedFile:
    """Each call opens the file: that is rare. Raises LogUnavailable where the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "refused.db"

    def keep(self, messages: Sequence[Message], now: float, max_bytes: float) -> None:
        """They are durable when it returns. Raises LogFull where more than `max_bytes` are kept already."""
        rows = [(now, len(data), data) for data in map(_encode, messages)]
        with self._transaction() as connection:
            held = _one(connection, "SELECT coalesce(sum(size), 0) FROM refused")
            if held >= max_bytes:
                raise LogFull(f"{self.path} holds {held} bytes, and spill.max_bytes is {max_bytes}")
            connection.executemany("INSERT INTO refused (time, size, message) VALUES (?, ?, ?)", rows)

    def all(self) -> Iterator[Kept]:
        """Every one, the oldest first. They are read one after another: each may be large."""
        last = 0
        while self.path.exists():
            with self._transaction() as connection:
                query = "SELECT id, time, message FROM refused WHERE id > ? ORDER BY id LIMIT 1"
                row = connection.execute(query, (last,)).fetchone()
            if row is None:
                return
            last = row[0]
            yield Kept(last, row[1], _decode(row[2]))

    def drop(self, ids: Collection[int]) -> int:
        """Lets these go; how many there were."""
        with self._transaction() as connection:
            return sum(connection.execute("DELETE FROM refused WHERE id = ?", (id,)).rowcount for id in ids)

    def purge(self, older_than: float) -> int:
        """Lets those go that were refused before that time; how many there were."""
        if not self.path.exists():
            return 0
        with self._transaction() as connection:
            return connection.execute("DELETE FROM refused WHERE time < ?", (older_than,)).rowcount

    def count(self) -> int:
        """How many there are."""
        if not self.path.exists():
            return 0
        with self._transaction() as connection:
            return _one(connection, "SELECT count(*) FROM refused")

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Durable once it is left."""
        try:
            private.make(self.path)
            with closing(writable(self.path)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_SCHEMA)
                yield connection
                connection.execute("COMMIT")
        except (sqlite3.OperationalError, OSError) as error:
            raise LogUnavailable(f"cannot write {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise LogError(f"{self.path} is broken: {error}") from error


def _one(connection: Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
