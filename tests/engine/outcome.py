"""What a history ended in, as far as it must not depend on the order in which it came."""

import asyncio
from typing import Any

import msgspec
from msgspec import Struct

from stream import lag, topics
from stream.person import Person
from tests.embedded import Embedded

Pair = tuple[str, str, float, float]


class Outcome(Struct, frozen=True):
    """People by subject, the pairs that count, the tombstones, and about whom there are rows."""

    people: dict[str, Any]
    links: list[Pair]
    tombstones: dict[str, float]
    rows: list[tuple[str, str]]


async def ready(system: Embedded) -> None:
    """Every member owns its partitions: from now on each step reads."""
    while not all(projector.owns_something for projector in system.projectors.values()):
        await asyncio.sleep(0)


async def finish(system: Embedded) -> None:
    """Every processor reads to the end of the log, and every deletion is done. Fails if they do not get there."""
    for _ in range(20):
        await system.settle()
        behind = sum(one.behind for one in await lags(system))
        if not behind and not await system.store.deletions.every("open", "erased"):
            return
    raise AssertionError(f"{behind} unread, or a deletion that is never done")


async def lags(system: Embedded) -> list[lag.Lag]:
    """How far each processor is behind."""
    projections = [projector.projection for projector in system.projectors.values()]
    return await lag.measure(system.log, await system.store.positions.all(), lag.readers(projections))


async def outcome(system: Embedded, subjects: list[str]) -> Outcome:
    """What all of it ended in, for these subjects."""
    people = {subject: await system.person(subject) for subject in subjects}

    async def read(tx):
        links = await tx.all("SELECT subject, other, first, last FROM links ORDER BY subject, other")
        rows = await tx.all("SELECT tbl, subject FROM rows ORDER BY tbl, subject")
        tombstones = await system.store.people.tombstones(tx, subjects)
        return links, rows, tombstones

    links, rows, tombstones = await system.store.db.reading(read)
    return Outcome(
        people={subject: plain(person) for subject, person in people.items()},
        links=[(subject, other, first, last) for subject, other, first, last in links],
        tombstones=tombstones,
        rows=[(table, subject) for table, subject in rows],
    )


async def published(system: Embedded) -> dict[str, Any]:
    """What person.profile holds once it is compacted: the newest value of each key."""
    newest = {d.message.key.decode(): d.message.value for d in await system.topic(topics.PERSON_PROFILE)}
    return {key: msgspec.json.decode(value)["person"] for key, value in newest.items() if value is not None}


def plain(person: Person | None) -> Any:
    """A person as JSON values. Where somebody of it was deleted, without what starts anew then (design §8)."""
    if person is None:
        return None
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(person, order="sorted"))
    return without(found, COUNTED) if person.deleted is not None else found


def without(found: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in names}


COUNTED = ("first_seen", "counts", "events")
UNMARKED = (*COUNTED, "last_seen", "context")  # nobody is published for these alone
