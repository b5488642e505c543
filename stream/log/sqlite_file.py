"""The file of the embedded log: its tables, its connections, and the lock of the one process that writes it."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from sqlite3 import Connection
from uuid import uuid4

from msgspec import Struct

from stream import private, topics
from stream.errors import ConfigError, LogError, LogInUse, LogUnavailable
from stream.message import Partition

_APPLICATION = 0x7365676C  # "segl": tells a log from any other SQLite file
_VERSION = 1
_PAGE_BYTES = (
    8192  # measured: 4096 is 0.6 of its speed for rows of 250 messages, 16384 no better and 1.2 slower for one
)
_BUSY_MS = 5000
_PRAGMAS = (
    f"page_size={_PAGE_BYTES}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "fullfsync=1",  # macOS: its fsync alone does not reach the disk
    "checkpoint_fullfsync=1",
    "wal_autocheckpoint=0",
    "secure_delete=FAST",  # Debian's default overwrites every deleted page, which doubles retention's writing
)

# A row is a record batch: many messages of one partition. `next` is the offset after its last one; all of them have the
# row's time. `start` is where a partition begins once retention has deleted from it, so that offsets never come again:
# the largest key of an emptied table would be forgotten. A commit touches no other table, so it costs no other page.
_SCHEMA = """
CREATE TABLE log (identity TEXT NOT NULL, created REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0);
CREATE TABLE partition (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL, start INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, number));
CREATE TABLE batch (
    id INTEGER PRIMARY KEY, partition_id INTEGER NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL,
    time REAL NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX batch_by_next ON batch (partition_id, next);
CREATE TABLE position (
    reader TEXT NOT NULL, partition_id INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (reader, partition_id)) WITHOUT ROWID;
"""


class LogFile(Struct, frozen=True):
    """What is fixed for the life of a log file: its identity, and the row id of each partition."""

    path: Path
    identity: str
    ids: Mapping[Partition, int]

    def partitions(self, topic: str) -> list[Partition]:
        """A topic's partitions, by number. Raises LogError for a topic that this log does not have."""
        found = sorted(partition for partition in self.ids if partition.topic == topic)
        if not found:
            raise LogError(
                f"{self.path} has no topic {topic!r}; it has {', '.join(sorted({p.topic for p in self.ids}))}"
            )
        return found


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Holds the lock of a log while it is open for writing. Raises LogInUse if another process holds it."""
    try:
        # Never deleted: a second file would be a second lock.
        private.make(lock_file := path.with_name(path.name + ".lock"))
        opened = open(lock_file, "a+")  # noqa: SIM115
    except OSError as error:
        raise LogUnavailable(f"cannot write in {path.parent}: {error}") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "(unknown)"
            raise LogInUse(
                f"{path.parent} is in use: process {owner} writes {path.name}. Stop it, or name another [log] url"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def prepare(path: Path, partitions: int, now: float) -> LogFile:
    """Makes the file if there is none, adds topics it does not have yet, and reads what is fixed. Raises ConfigError
    when it was made with another number of partitions, LogError when it is no log of this version."""
    try:
        private.make(path)  # SQLite's own files beside it get the same mode
        with closing(writable(path)) as connection:
            _begin(connection, path, now)
            _add_topics(connection, path, partitions)
            connection.execute("COMMIT")
            return _read(connection, path)
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error


def look(path: Path) -> LogFile:
    """Reads what is fixed, changing nothing. Raises LogError when there is no log."""
    if not path.exists():
        raise LogError(f"there is no log at {path}; `stream run` makes one")
    try:
        with closing(readable(path)) as connection:
            _refuse_others(connection, path)
            return _read(connection, path)
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error


@asynccontextmanager
async def last_to_close(path: Path) -> AsyncIterator[None]:
    """The last connection to close empties the write-ahead file, which one that only reads cannot."""
    last = await asyncio.to_thread(writable, path)
    try:
        yield
    finally:
        await asyncio.to_thread(last.close)


def writable(path: Path) -> Connection:
    """A connection whose commits are durable when they return. It never checkpoints: see sqlite_checkpoint.py."""
    connection = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def readable(path: Path) -> Connection:
    """A connection that cannot write."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_MS / 1000, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip


def _begin(connection: Connection, path: Path, now: float) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return _refuse_others(connection, path)
    for statement in _SCHEMA.split(";")[:-1]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={_APPLICATION}")
    connection.execute(f"PRAGMA user_version={_VERSION}")
    connection.execute("INSERT INTO log (identity, created) VALUES (?, ?)", (uuid4().hex, now))


def _refuse_others(connection: Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise LogError(f"{path} is a database, but no log; name another file in [log] url")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != _VERSION:
        raise LogError(f"{path} was written by another version of stream (format {version}, this one reads {_VERSION})")


def _add_topics(connection: Connection, path: Path, partitions: int) -> None:
    kept = dict(connection.execute("SELECT topic, count(*) FROM partition GROUP BY topic").fetchall())
    for topic, number in kept.items():
        if number != partitions:
            raise ConfigError(
                f"log.partitions is {partitions}, but {path} was made with {number} for {topic}, and keys would move; "
                f"set it to {number}, or name another file in [log] url"
            )
    missing = [(topic, number) for topic in topics.ALL if topic not in kept for number in range(partitions)]
    connection.executemany("INSERT INTO partition (topic, number) VALUES (?, ?)", missing)


def _read(connection: Connection, path: Path) -> LogFile:
    identity = connection.execute("SELECT identity FROM log").fetchone()[0]
    rows = connection.execute("SELECT topic, number, id FROM partition").fetchall()
    return LogFile(path, identity, {Partition(topic, number): id for topic, number, id in rows})


def _unusable(path: Path, error: sqlite3.DatabaseError) -> LogError:
    if isinstance(error, sqlite3.OperationalError):
        return LogUnavailable(f"cannot open the log at {path}: {error}")
    return LogError(f"{path} is no log: {error}")
