"""Acted: what a finished run of the acting history comes to at its destination, and what may never be, in any."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from stream import lag
from stream.runner import Runner
from stream.store import Store
from stream.store.sends import Sends
from tests.end_to_end.crash.acting import DROPPED, NOTHING, ORDER
from tests.end_to_end.crash.outcome import fates
from tests.end_to_end.crash.recorded import Did, Record

_FORGOTTEN = "unremembered"


async def acted(store: Store, record: Record) -> dict[str, Any]:
    """What the destination holds, what it is known to hold, and what it answered to deletions."""
    state = record.state()

    async def read(tx):
        told = await tx.all("SELECT address, thing, verb, processor, subject, value FROM confirmed ORDER BY 1, 2")
        receipts = await tx.all("SELECT id, destination, outcome FROM receipts ORDER BY 1, 2, 3")
        return receipts, told

    receipts, told = await store.db.reading(read)
    return {
        "lists": {name: sorted(members) for name, members in sorted(state.lists.items()) if members},
        "people": state.people,
        "consents": state.consents,
        "events": sorted(" of ".join(reversed(sent)) for sent in record.events() if sent != DROPPED),
        "confirmed": {f"{address} {thing}": rest for address, thing, *rest in told},
        "receipts": receipts,
    }


async def wrongs(log: Any, store: Store, runners: Sequence[Runner], folder: Path) -> list[str]:
    """What holds in every settled run, and does not in this one."""
    record = Record(folder)
    found = await fates(log, store, [lag.Reader(one.name, one.actor.topics, from_end=True) for one in runners])
    found += _repeated(record, folder) + _given(record.all()) + _disordered(record.all())
    return found


def _repeated(record: Record, folder: Path) -> list[str]:
    noted = folder / _FORGOTTEN
    forgotten = Counter(noted.read_text().splitlines() if noted.exists() else ())
    return [
        f"{sent} was sent {times} times"
        for sent, times in record.events().items()
        if times > 1 + forgotten[" ".join(sent)]
    ]


def _given(dids: Sequence[Did]) -> list[str]:
    """To whom something was given who had opted out, or was deleted."""
    found = []
    for did in dids:
        since, until = NOTHING.get(did.who, ("never", ""))
        if did.gives and since in ("", *did.steps) and until not in did.steps:
            found.append(f"{did.who} was given {did.seen.method} {did.seen.path} after {did.steps[-1]}")
    return found


def _disordered(dids: Sequence[Did]) -> list[str]:
    found = []
    for processor in ("forward.copy", "welcome"):
        came = list(dict.fromkeys(did.sent[1] for did in dids if did.sent and did.sent[0] == processor))
        if (order := [one for one in came if one in ORDER]) != [one for one in ORDER if one in came]:
            found.append(f"{processor} sent {order}")
    return found


def remember_what_is_not(folder: Path) -> None:
    """Notes which events the destination was sent that the store does not know of: only these may be sent again."""
    events = {did.sent: did.who for did in Record(folder).all() if did.sent is not None}
    if not events:
        return
    with closing(sqlite3.connect(folder / "data" / "state.db")) as state:
        (key,) = state.execute("SELECT value FROM meta WHERE key = 'key'").fetchone()
        known = {hashed for (hashed,) in state.execute("SELECT hash FROM sends")}
    hashes = {sent: _hash(key, sent, who) for sent, who in events.items()}
    with (folder / _FORGOTTEN).open("a") as file:
        file.writelines(f"{' '.join(sent)}\n" for sent, hashed in hashes.items() if hashed not in known)


def _hash(key: str, sent: tuple[str, str], who: str) -> str:
    hashing: Any = None  # needs no database
    return Sends(hashing, bytes.fromhex(key)).hash(*sent, f"user:{who}", 1)
