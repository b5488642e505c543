"""Spilled: which receivers have taken events that are not in the log yet, so that no processor can have seen them."""

from stream.store.database import Database


class Spilled:
    """By receiver, the time at which the oldest of these was taken."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(self, receiver: str, since: float | None) -> None:
        """Says so of one receiver; None: all that it took is in the log. What was said stays if the receiver ends."""
        if since is None:
            await self._db.writing(lambda tx: tx.run("DELETE FROM spills WHERE receiver = ?", receiver))
            return
        await self._db.writing(
            lambda tx: tx.run(
                "INSERT INTO spills (receiver, since) VALUES (?, ?) ON CONFLICT (receiver)"
                " DO UPDATE SET since = excluded.since",
                *(receiver, since),
            )
        )

    async def all(self) -> dict[str, float]:
        """Receiver → since when."""
        return dict(await self._db.reading(lambda tx: tx.all("SELECT receiver, since FROM spills")))
