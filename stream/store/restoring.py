"""Restoring: what must hold before anything runs on a state that comes from a backup.

What happened after the backup is not in it: destinations were told more than it says, numbers that must never repeat
were given out, members may still live that hold claims of then. Facts, links and consent come back by themselves: the
positions are as old as the rows, and the log is read again from there.
"""

import json
from collections.abc import Sequence

from msgspec import Struct

from stream.store.database import Database, Transaction

REASON = "the state was restored from a backup: set its positions, then resume it"

_LEAP = 1_000_000_000  # more revisions, claims and openings than anybody made since the backup


class Restored(Struct, frozen=True):
    """What was done: rows of `confirmed` set unknown, reactors stopped, walks asked for, requests of commands ended;
    and how many deliveries of those reactors are held, which may have been acted on since."""

    unknown: int
    stopped: Sequence[str]
    walks: Sequence[str]
    requests: int
    held: int


async def restored(db: Database, reactors: Sequence[str], syncs: Sequence[str], who: str, now: float) -> Restored:
    """Readies a state that was just put back, in one transaction; nothing may run on it meanwhile. Doing it twice does
    no harm."""

    async def write(tx: Transaction) -> Restored:
        await tx.run("UPDATE counters SET value = value + ?", _LEAP)
        await tx.run("UPDATE positions SET claim = claim + ?", _LEAP)
        await tx.run("DELETE FROM caught_up")
        unknown = await tx.run("UPDATE confirmed SET value = NULL, lease = NULL, until = NULL")
        requests = await tx.run(
            "UPDATE requests SET done = ?, result = ?, args = '{}' WHERE done IS NULL AND kind <> 'forget'",
            *(now, "not done: the state was restored from a backup"),
        )
        for name in syncs:
            await _walk(tx, name, who, now)
        for name in reactors:
            await _stop(tx, name, now)
        ((held,),) = await tx.all(
            f"SELECT count(*) FROM held WHERE {db.among('processor')} AND state = 'waiting'", db.listed(reactors)
        )
        await tx.run(
            "INSERT INTO audit (time, who, what, hash) VALUES (?, ?, ?, '')",
            *(now, who, f"restored: {json.dumps({'unknown': unknown, 'stopped': list(reactors)})}"),
        )
        return Restored(unknown, reactors, syncs, requests, held)

    return await db.writing(write)


async def _walk(tx: Transaction, name: str, who: str, now: float) -> None:
    # One that was under way begins anew: whom it saw, it saw before the backup.
    await tx.run("DELETE FROM walks WHERE processor = ? AND state = 'open'", name)
    await tx.run(
        "INSERT INTO walks (processor, state, who, asked, everything, after, seen, differed, failed)"
        " VALUES (?, 'open', ?, ?, ?, '', 0, 0, 0)",
        *(name, who, now, False),
    )


async def _stop(tx: Transaction, name: str, now: float) -> None:
    await tx.run(
        "INSERT INTO stops (processor, reason, lasting, time) VALUES (?, ?, ?, ?) ON CONFLICT (processor)"
        " DO UPDATE SET reason = excluded.reason, lasting = excluded.lasting, time = excluded.time",
        *(name, REASON, True, now),
    )
