"""Duties: what one process at a time does for all of them: erasing, purging, errands that anybody could run.

A duty ends by itself, so that a process that is gone or frozen keeps nobody from it. One that wakes up may still be at
it: whatever is done under a duty must be harmless to do twice.
"""

import secrets

from stream.store.database import Database, Transaction

LENGTH_S = 15.0


class Duties:
    """The duties as one process has them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._holder = secrets.token_hex(8)
        self._until: dict[str, float] = {}

    async def mine(self, duty: str, now: float) -> bool:
        """Is it this process that does it, for some seconds from now? It takes what nobody has."""
        if 0.0 < self._until.get(duty, now) - now - LENGTH_S / 2 <= LENGTH_S:
            return True
        until = await self._db.reading(lambda tx: self._others(tx, duty))
        if until is not None and now < until <= now + 2 * LENGTH_S:  # further ahead, a clock was wrong
            return False
        taken = await self._db.writing(lambda tx: self._take(tx, duty, now), durable=False, beside=True)
        self._until[duty] = now + LENGTH_S if taken else float("-inf")
        return taken

    async def leave(self) -> None:
        """Lets others have what this process has, at once."""
        self._until.clear()
        await self._db.writing(
            lambda tx: tx.run("DELETE FROM duties WHERE holder = ?", self._holder), durable=False, beside=True
        )

    async def inherit(self) -> None:
        """There is no other process: whatever another one had is nobody's."""
        await self._db.writing(lambda tx: tx.run("DELETE FROM duties"), durable=False, beside=True)

    async def _others(self, tx: Transaction, duty: str) -> float | None:
        found = await tx.all("SELECT until FROM duties WHERE name = ? AND holder <> ?", duty, self._holder)
        return float(found[0][0]) if found else None

    async def _take(self, tx: Transaction, duty: str, now: float) -> bool:
        taken = await tx.run(
            "INSERT INTO duties (name, holder, until) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
            " SET holder = excluded.holder, until = excluded.until"
            " WHERE duties.holder = excluded.holder OR duties.until <= ? OR duties.until > ?",
            *(duty, self._holder, now + LENGTH_S, now, now + 2 * LENGTH_S),
        )
        return taken == 1
