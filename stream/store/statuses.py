"""Statuses: what each member says of its sync or reactor, for `stream lag`, which looks from beside it."""

import secrets
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import Struct

from stream.store.database import Database

FRESH_S = 10.0
"""What is older was said by a process that does not run any more, or does not get to it."""
_AGAIN_S = 5.0
_FORGET_S = 86_400.0


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
    """The last status of each member; this process' members go by one name."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._member = secrets.token_hex(8)
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
        rows = [
            (processor, self._member, msgspec.json.encode(one.status).decode(), now) for processor, one in said.items()
        ]
        await self._db.writing(
            lambda tx: tx.many(
                "INSERT INTO statuses (processor, member, value, time) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (processor, member) DO UPDATE SET value = excluded.value, time = excluded.time",
                rows,
            ),
            durable=False,
            beside=True,
        )
        self._kept |= said

    async def forget(self, now: float) -> None:
        """Forgets members that have not been heard of for a day."""
        await self._db.writing(lambda tx: tx.run("DELETE FROM statuses WHERE time < ?", now - _FORGET_S), durable=False)

    async def all(self) -> dict[str, Said]:
        """By processor: what its members say together, of whom those count that were heard of lately."""
        found = await self._db.reading(lambda tx: tx.all("SELECT processor, value, time FROM statuses"))
        members: dict[str, list[Said]] = {}
        for processor, value, time in found:
            members.setdefault(processor, []).append(Said(_STATUS.decode(value), time))
        return {processor: _together(said) for processor, said in members.items()}


def _together(members: Iterable[Said]) -> Said:
    """The worst of each: a destination that is down for one member is worth knowing."""
    every = list(members)
    newest = max(one.time for one in every)
    alive = [one.status for one in every if newest - one.time <= FRESH_S]
    return Said(
        Status(
            broken=_first(alive, lambda status: status.broken),
            probe=_first(alive, lambda status: status.probe),
            oldest=_first(alive, lambda status: status.oldest),
        ),
        newest,
    )


def _first(alive: Iterable[Status], field: Callable[[Status], float | None]) -> float | None:
    return min((time for status in alive if (time := field(status)) is not None), default=None)


_STATUS = msgspec.json.Decoder(Status)
