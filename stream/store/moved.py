"""Moving state: every table of an embedded state into another store, with the positions of a log that was moved too."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stream import topics
from stream.message import Partition
from stream.store.database import Database, Row, Transaction

_PAGE = 2_000
_MOVE = "move"
_LEFT = {"meta", "counters", "statuses", "duties", "spills", "caught_up"}  # of running processes, or dealt with apart
_TOLD = ("rows", "positions", "confirmed", "deletions", "held", "links", "sends")


class Begun(Struct, frozen=True):
    """A move into a store: from which log, where each partition begins in the new one, and whether it is done."""

    log: str
    begins: list[tuple[str, int, int]]
    done: bool = False


class Shifts(Struct, frozen=True):
    """What makes a new offset of an old one, by partition; and the identity of the new log, by topic."""

    offsets: Mapping[Partition, int]
    logs: Mapping[str, str]

    def shifted(self, topic: str, part: int, offset: int) -> int:
        if offset < 0:  # held of a log before this one: a place in its lane, and no offset
            return offset
        return offset + self.offsets.get(Partition(topic, part), 0)


async def begun(new: Database) -> Begun | None:
    """The move that was begun into this store, if one was."""
    found = await new.reading(lambda tx: tx.all("SELECT value FROM meta WHERE key = ?", _MOVE))
    return msgspec.json.decode(found[0][0], type=Begun) if found else None


async def begin(new: Database, move: Begun) -> None:
    """Keeps that a move was begun, or is done."""
    await new.writing(lambda tx: _note(tx, move))


async def occupied(new: Database) -> str | None:
    """A table that holds something already, of those that a move fills."""
    for table in _TOLD:
        query = f"SELECT 1 FROM {table} LIMIT 1"
        if await new.reading(lambda tx, query=query: tx.all(query)):  # type: ignore[misc]
            return table
    return None


async def sizes(old: Database) -> dict[str, int]:
    """How many rows of each table would be moved."""
    found = {}
    for table in await _tables(old):
        ((found[table],),) = await _read(old, f"SELECT count(*) FROM {table}")
    return found


async def move(old: Database, new: Database, shifts: Shifts, done: Begun, copied: Callable[[int], None]) -> None:
    """Copies everything in one transaction: all of it is there afterwards, or nothing. `copied` hears how many rows."""

    async def write(tx: Transaction) -> None:
        for table in await _tables(old):
            columns = await _read(old, "SELECT name, type, pk FROM pragma_table_info(?)", table)
            names = [str(name) for name, _, _ in columns]
            insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            async for rows in _pages(old, table, columns):
                await tx.many(insert, [_shifted(table, dict(zip(names, row, strict=True)), shifts) for row in rows])
                copied(len(rows))
        await _numbers(old, tx)
        await _note(tx, done)

    await new.writing(write)
    await new.restart_ids()


async def close(old: Database, to: str) -> None:
    """Has the old state refuse to be run on: what it would do, the new one does."""
    await old.writing(lambda tx: tx.many(_META, [("moved", to)]))


_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


async def _note(tx: Transaction, move: Begun) -> None:
    await tx.many(_META, [(_MOVE, msgspec.json.encode(move).decode())])


async def _tables(old: Database) -> list[str]:
    found = await _read(old, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return sorted(name for (name,) in found if name not in _LEFT)


async def _read(old: Database, sql: str, *params: Any) -> list[Row]:
    return await old.reading(lambda tx: tx.all(sql, *params))


async def _pages(old: Database, table: str, columns: Sequence[Row]) -> AsyncIterator[list[Row]]:
    """The rows in order of the primary key, some at a time; BOOLEANs as such."""
    names = [name for name, _, _ in columns]
    keys = [name for name, _, place in sorted(columns, key=lambda column: column[2]) if place]
    booleans = [index for index, (_, kind, _) in enumerate(columns) if kind == "BOOLEAN"]
    order = ", ".join(keys)
    after = f"({order}) > ({', '.join('?' * len(keys))})"
    last: list[Any] = []
    while True:
        where = f"WHERE {after}" if last else ""
        rows = await _read(
            old, f"SELECT {', '.join(names)} FROM {table} {where} ORDER BY {order} LIMIT ?", *last, _PAGE
        )
        if not rows:
            return
        last = [rows[-1][names.index(key)] for key in keys]
        yield [_typed(row, booleans) for row in rows]


def _typed(row: Row, booleans: Sequence[int]) -> Row:
    if not booleans:
        return row
    return tuple(bool(value) if index in booleans else value for index, value in enumerate(row))


def _shifted(table: str, row: dict[str, Any], shifts: Shifts) -> Row:
    match table:
        case "positions":
            row["position"] = shifts.shifted(row["topic"], row["part"], row["position"])
            row["log"] = shifts.logs[row["topic"]]
        case "held" | "released":
            row["position"] = shifts.shifted(row["topic"], row["part"], row["position"])
        case "retried":
            row["position"] = shifts.shifted(topics.INVALID, row["part"], row["position"])
        case "deletions" if row["ends"] is not None:
            ends = [(topic, part, shifts.shifted(topic, part, end)) for topic, part, end in _ends(row["ends"])]
            row["ends"] = msgspec.json.encode(ends).decode()
    return tuple(row.values())


def _ends(text: str) -> list[tuple[str, int, int]]:
    return msgspec.json.decode(text, type=list[tuple[str, int, int]])


async def _numbers(old: Database, tx: Transaction) -> None:
    """The key of the hashes, which tables there are, and the numbers that must never repeat."""
    kept = await _read(old, "SELECT key, value FROM meta WHERE key = 'key' OR key LIKE 'table:%'")
    await tx.many(_META, kept)
    counters = await _read(old, "SELECT name, value + 1 FROM counters")
    await tx.many(
        "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        counters,
    )
