"""The plain loops: what a good engineer writes for one purpose, with the same log file, the same SQLite settings, the
same batches; no erasure, no order of event times, no second member, no conflict, no marks.
"""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from stream.message import Message
from stream.projector import BATCH

Deal = Callable[[list[Message]], None]


class Loop:
    """Reads topics of a log, and deals with what it read, `BATCH` messages at a time; its positions are in `state`."""

    def __init__(self, log: Path, state: Path, topics: Iterable[str]) -> None:
        self._log = sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        named = ", ".join(f"'{topic}'" for topic in topics)
        found = self._log.execute(f"SELECT id FROM partition WHERE topic IN ({named}) ORDER BY id").fetchall()
        self.positions = {id: 0 for (id,) in found}
        self.state = opened(state)

    def run(self, deal: Deal, count: int) -> int:
        """Deals with `count` messages or a few more (how many), each batch in one transaction with its positions."""
        done = 0
        while done < count:
            batch = self._read()
            done += len(batch)
            self.state.execute("BEGIN IMMEDIATE")
            deal(batch)
            self.state.executemany("INSERT OR REPLACE INTO position VALUES (?, ?)", self.positions.items())
            self.state.execute("COMMIT")
        return done

    def close(self) -> None:
        """Closes both files."""
        self._log.close()
        self.state.close()

    def _read(self) -> list[Message]:
        """A batch: whole rows, the same share of each partition that has so many."""
        query = "SELECT next, data FROM batch WHERE partition_id = ? AND next > ? ORDER BY next"
        found: list[Message] = []
        hungry = [id for id, more in self._more().items() if more]
        for number, id in enumerate(hungry, 1):
            for end, data in self._log.execute(query, (id, self.positions[id])):
                found += _messages(data)
                self.positions[id] = end
                if len(found) >= BATCH * number / len(hungry):
                    break
        return found

    def _more(self) -> dict[int, bool]:
        query = "SELECT EXISTS (SELECT 1 FROM batch WHERE partition_id = ? AND next > ?)"
        return {at[0]: bool(self._log.execute(query, at).fetchone()[0]) for at in self.positions.items()}


def opened(state: Path) -> sqlite3.Connection:
    """A file for what a loop remembers."""
    connection = sqlite3.connect(state, isolation_level=None)
    # As stream/store/sqlite.py has them, and NORMAL, as it writes a batch that publishes nothing.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=4000", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE position (id INTEGER PRIMARY KEY, next INTEGER)")
    connection.execute("CREATE TABLE person (id TEXT PRIMARY KEY, first TEXT, last TEXT, seen INTEGER, facts TEXT)")
    return connection


def route(batch: list[Message]) -> None:
    """Reads of each event what it is routed by."""
    for message in batch:
        _route(message.value or b"")


class Fold:
    """Profiles: folded by user in memory, and then one statement for all of them."""

    def __init__(self, state: sqlite3.Connection) -> None:
        self._state = state

    def __call__(self, batch: list[Message]) -> None:
        self._state.executemany(
            "INSERT INTO person (id, first, last, seen, facts) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " first = min(first, excluded.first), last = max(last, excluded.last), seen = seen + excluded.seen,"
            " facts = json_patch(facts, excluded.facts)",
            folded(batch),
        )


def folded(batch: list[Message]) -> list[tuple[str, str, str, int, str]]:
    """One row per user, in their order: first and last seen, how often, and JSON of what is new."""
    people: dict[str, _Person] = {}
    for message in batch:
        event = _event(message.value or b"")
        person = people.get(event.user_id)
        if person is None:
            person = people[event.user_id] = _Person(event.timestamp, event.timestamp)
        person.seen += 1
        person.first, person.last = min(person.first, event.timestamp), max(person.last, event.timestamp)
        if event.traits is not None:
            person.facts.update(event.traits)
        if event.event is not None:
            person.facts[event.event] = event.timestamp
    return [(id, p.first, p.last, p.seen, _encode(p.facts).decode()) for id, p in sorted(people.items())]


class _Route(Struct, rename="camel", gc=False):
    type: str
    user_id: str | None = None
    anonymous_id: str | None = None
    message_id: str | None = None


class _Event(Struct, rename="camel", gc=False):
    type: str
    user_id: str
    timestamp: str
    message_id: str
    event: str | None = None
    context: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None


class _Person:
    __slots__ = ("facts", "first", "last", "seen")

    def __init__(self, first: str, last: str) -> None:
        self.first, self.last, self.seen = first, last, 0
        self.facts: dict[str, Any] = {}


_messages = msgspec.msgpack.Decoder(list[Message]).decode
_route = msgspec.json.Decoder(_Route).decode
_event = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode
