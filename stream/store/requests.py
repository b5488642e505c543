"""Requests: what a command asks of the running process; and the audit of who asked."""

import json
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from stream.store.database import Database, Transaction


class Request(Struct, frozen=True):
    """What a command asks of the running process. `kind` and `args` are the asker's; done once `done` is set."""

    id: int
    kind: str
    args: dict[str, Any]
    who: str
    asked: float
    done: float | None = None
    result: str | None = None


class Requests:
    """Asked by one process, carried out by another."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def ask(self, kind: str, args: dict[str, Any], who: str, now: float) -> int:
        """Keeps a request durably; its number."""
        [number] = await self.ask_all(kind, [args], who, now)
        return number

    async def ask_all(self, kind: str, asked: Sequence[dict[str, Any]], who: str, now: float) -> list[int]:
        """Keeps requests durably, in order, each with its arguments; their numbers."""
        rows = [(kind, json.dumps(args), who, now) for args in asked]

        async def write(tx: Transaction) -> list[int]:
            await tx.many("INSERT INTO requests (kind, args, who, asked) VALUES (?, ?, ?, ?)", rows)
            found = await tx.all("SELECT id FROM requests ORDER BY id DESC LIMIT ?", len(rows))
            return [int(number) for (number,) in reversed(found)]

        return await self._db.writing(write)

    async def open(self) -> list[Request]:
        """Those not carried out yet, oldest first."""
        found = await self._db.reading(
            lambda tx: tx.all("SELECT id, kind, args, who, asked FROM requests WHERE done IS NULL ORDER BY id")
        )
        return [Request(i, kind, json.loads(args), who, asked) for i, kind, args, who, asked in found]

    async def get(self, number: int) -> Request | None:
        """One request, as it is now."""
        found = await self._db.reading(
            lambda tx: tx.all("SELECT id, kind, args, who, asked, done, result FROM requests WHERE id = ?", number)
        )
        return next((Request(i, k, json.loads(a), w, t, d, r) for i, k, a, w, t, d, r in found), None)

    async def finish(self, number: int, result: str, now: float) -> None:
        """Notes the first result and forgets the arguments, which may name a person."""
        await self._db.writing(
            lambda tx: tx.run(
                "UPDATE requests SET done = ?, result = ?, args = '{}' WHERE id = ? AND done IS NULL",
                now,
                result,
                number,
            )
        )

    async def note_retried(self, part: int, offset: int, now: float) -> None:
        """Keeps that a message of segment.invalid was appended again."""
        await self._db.writing(
            lambda tx: tx.run(
                "INSERT INTO retried (part, position, time) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", part, offset, now
            )
        )

    async def retried(self) -> set[tuple[int, int]]:
        """Partition and offset of all messages of segment.invalid that were appended again."""
        found = await self._db.reading(lambda tx: tx.all("SELECT part, position FROM retried"))
        return {(part, offset) for part, offset in found}

    async def note(self, who: str, what: str, hashed: str, now: float) -> None:
        """One line of the audit: who did what to whose data, when. The person is named by hash only."""
        await self.note_all(who, [(what, hashed)], now)

    async def note_all(self, who: str, lines: Sequence[tuple[str, str]], now: float) -> None:
        """Lines of the audit, each with what was done and whose data it was."""
        rows = [(now, who, what, hashed) for what, hashed in lines]
        await self._db.writing(
            lambda tx: tx.many("INSERT INTO audit (time, who, what, hash) VALUES (?, ?, ?, ?)", rows)
        )

    async def audit(self, hashed: str | None = None) -> list[tuple[float, str, str, str]]:
        """The audit's lines, newest first; of one person, or all."""
        where, params = ("WHERE hash = ?", (hashed,)) if hashed else ("", ())
        found = await self._db.reading(
            lambda tx: tx.all(f"SELECT time, who, what, hash FROM audit {where} ORDER BY id DESC", *params)
        )
        return [(time, who, what, of) for time, who, what, of in found]
