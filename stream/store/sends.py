"""Sends: what reactors sent, so that it is sent once. Keyed hashes, with an age: nobody can be found by them."""

import hashlib
from collections.abc import Collection, Sequence

from stream.store.database import Database, Transaction

SEPARATOR = "\x00"


class Sends:
    """What was really sent. Read and written in transactions of others."""

    def __init__(self, db: Database, key: bytes) -> None:
        self._db = db
        self._key = key

    def hash(self, processor: str, message_id: str, subject: str, number: int) -> str:
        """Stands for the n-th send of a processor about a subject because of a message."""
        text = SEPARATOR.join((processor, message_id, subject, str(number)))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).hexdigest()

    async def among(self, tx: Transaction, hashes: Sequence[str]) -> list[bool]:
        """Of each: was it sent?"""
        found = await tx.all(f"SELECT hash FROM sends WHERE {self._db.among('hash')}", self._db.listed(hashes))
        sent = {hashed for (hashed,) in found}
        return [hashed in sent for hashed in hashes]

    async def add(self, tx: Transaction, hashes: Collection[str], now: float) -> None:
        """They were."""
        # One statement: in a transaction's thread each one has to wait for a busy loop.
        await tx.run(
            "INSERT INTO sends (hash, time) SELECT asked.value, CAST(? AS DOUBLE PRECISION)"
            f" FROM {self._db.each('asked')} WHERE true ON CONFLICT DO NOTHING",
            *(now, self._db.listed(sorted(hashes))),
        )

    async def purge(self, before: float, limit: int = 10_000) -> int:
        """Forgets some of what was sent before then; how many."""
        return await self._db.writing(
            lambda tx: tx.run(
                "DELETE FROM sends WHERE hash IN (SELECT hash FROM sends WHERE time < ? LIMIT ?)", before, limit
            ),
            durable=False,
            beside=True,
        )

    async def named(self, tx: Transaction, destination: str, address: str, subject: str) -> bool:
        """Is it noted that this destination may know the subject by this address, from a reactor?"""
        where = "destination = ? AND address = ? AND thing = ?"
        return bool(await tx.all(f"SELECT 1 FROM confirmed WHERE {where}", destination, address, _thing(subject)))

    async def name(self, tx: Transaction, destination: str, address: str, subject: str, processor: str) -> None:
        """From now on this destination may know the subject by this address: a deletion must find it."""
        await tx.run(
            "INSERT INTO confirmed (destination, address, thing, verb, processor, subject)"
            " VALUES (?, ?, ?, 'send_event', ?, ?) ON CONFLICT DO NOTHING",
            *(destination, address, _thing(subject), processor, subject),
        )


def _thing(subject: str) -> str:
    return f"event:{subject}"  # of each who shares the address: whoever is deleted first must not hide the others
