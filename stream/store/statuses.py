"""Statuses: what the running process says of each sync and reactor, for `stream lag`, which looks from beside it."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from stream.store.database import Database

FRESH_S = 10.0
"""What is older was said by a process that does not run any more, or does not get to it."""
_AGAIN_S = 5.0


class Status(Struct, frozen=True, kw_only=True):
    """How one stands, in seconds since the epoch. `broken`: since when its destination is taken to be down (None: it is
    not), and then `probe`: when somebody is tried again; `oldest`: when the oldest delivery was taken that has not
    ended."""

    broken: float | None = None
    probe: float | None = None
    oldest: float | None = None


class Said(Struct, frozen=True):
    """A status, and when it was said."""

    status: Status
    time: float


class Statuses:
    """The last status of each."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._kept: dict[str, Said] = {}

    async def keep(self, statuses: Mapping[str, Status], now: float) -> None:
        """Keeps what has changed since it was last kept here, and what was kept a while ago. A crash may lose it."""
        said = {
            processor: Said(status, now)
            for processor, status in statuses.items()
            if (was := self._kept.get(processor)) is None or was.status != status or now - was.time >= _AGAIN_S
        }
        if not said:
            return
        rows = [(processor, msgspec.json.encode(one.status).decode(), now) for processor, one in said.items()]
        async with self._db.write(durable=False) as tx:
            await tx.many(
                "INSERT INTO statuses (processor, value, time) VALUES (?, ?, ?) ON CONFLICT (processor)"
                " DO UPDATE SET value = excluded.value, time = excluded.time",
                rows,
            )
        self._kept |= said

    async def all(self) -> dict[str, Said]:
        """By processor."""
        async with self._db.read() as tx:
            found = await tx.all("SELECT processor, value, time FROM statuses")
        return {processor: Said(_STATUS.decode(value), time) for processor, value, time in found}


_STATUS = msgspec.json.Decoder(Status)
