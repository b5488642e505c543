"""Spilled: which receivers have taken events that are not in the log yet, so that no processor can have seen them."""

from stream.store.database import Database, Transaction

_FORGET_S = 3_600.0  # a processor that has not got so far since then is behind anyway


class Spilled:
    """By receiver, the time at which the oldest of these was taken."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(self, receiver: str, since: float | None, now: float) -> None:
        """Says so of one receiver; None: all that it took is in the log by now. What was said stays if it ends."""
        await self._db.writing(lambda tx: self._keep(tx, receiver, since, now))

    async def forget(self, receiver: str) -> None:
        """Nobody waits for its events any more: they are lost."""
        await self._db.writing(lambda tx: tx.run("DELETE FROM spills WHERE receiver = ? AND moved IS NULL", receiver))

    async def all(self) -> dict[str, float]:
        """Receiver → since when, of those whose events are not in the log."""
        query = "SELECT receiver, min(since) FROM spills WHERE moved IS NULL GROUP BY receiver"
        return dict(await self._db.reading(lambda tx: tx.all(query)))

    async def _keep(self, tx: Transaction, receiver: str, since: float | None, now: float) -> None:
        if since is None:
            await tx.run("UPDATE spills SET moved = ? WHERE receiver = ? AND moved IS NULL", now, receiver)
            await tx.run("DELETE FROM spills WHERE moved < ?", now - _FORGET_S)
            return
        await tx.run(
            "INSERT INTO spills (receiver, since) VALUES (?, ?) ON CONFLICT (receiver, since)"
            " DO UPDATE SET moved = NULL",
            *(receiver, since),
        )
