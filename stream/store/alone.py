"""Alone: people who are one subject, and share no address: nothing but what lies under it tells what is wanted of them.

Whoever is linked, shares an address, was ever deleted, is held, or is being sent something, is not among them.
"""

from msgspec import Struct

from stream import facts
from stream.store.confirmed import Told
from stream.store.database import Row, Transaction
from stream.store.people import People


class Alone(Struct, frozen=True):
    """Somebody alone. `stamp`: the same while nothing of theirs has changed: facts, addresses, what was told. It means
    nothing outside this process. `told`: the destination, of them."""

    stamp: int
    addresses: tuple[str, ...]
    told: tuple[Told, ...]


async def alone(tx: Transaction, people: People, destination: str, between: tuple[str, str]) -> dict[str, Alone]:
    """Those of the subjects after the first and up to the second one who are alone, as this destination sees them."""
    versions: dict[str, list[object]] = {}
    for table in facts.TABLES:
        for subject, version in await tx.all(
            f"SELECT subject, version FROM rows WHERE tbl = ? AND {_IN}", table, *between
        ):
            versions.setdefault(subject, []).append((table, version))
    addresses: dict[str, list[str]] = {}
    for subject, identifier in await tx.all(f"SELECT subject, identifier FROM identifiers WHERE {_IN}", *between):
        addresses.setdefault(subject, []).append(identifier)
    told: dict[str, list[Row]] = {}
    for row in await tx.all(_TOLD, destination, *between):
        told.setdefault(row[0], []).append(row)
    others = await _with_others(tx, destination, between)
    if await people.serial(tx):
        others |= (await people.tombstones(tx, versions.keys() - others)).keys()
        others |= {subject for (subject,) in await tx.all(_DELETING, destination, *between)}
    found: dict[str, Alone] = {}
    for subject, rows in versions.items():
        if subject not in others:
            known, lines = tuple(addresses.get(subject, ())), tuple(told.get(subject, ()))
            if all(
                line[1] in known and line[-1] is None for line in lines
            ):  # else it may be another's, or be on its way
                stamp = hash((subject, tuple(rows), known, lines))
                found[subject] = Alone(stamp, known, tuple([_told(destination, line) for line in lines]))
    return found


async def _with_others(tx: Transaction, destination: str, between: tuple[str, str]) -> set[str]:
    """Whoever is linked, shares an address, is told of on another one's behalf, or is held."""
    found: set[str] = set()
    for query in _OTHERS:
        found |= {subject for (subject,) in await tx.all(query, *between)}
    return found | {subject for (subject,) in await tx.all(_FOREIGN, destination, *between)}


def _told(destination: str, line: Row) -> Told:
    subject, address, thing, verb, processor, value, told, _ = line
    return Told(
        destination=destination,
        address=address,
        thing=thing,
        verb=verb,
        processor=processor,
        subject=subject,
        value=value or None,
        told=told or None,
    )


_IN = "subject > ? AND subject <= ?"
_MINE = "mine.subject > ? AND mine.subject <= ?"
_TOLD = (
    "SELECT subject, address, thing, verb, processor, coalesce(value, ''), coalesce(told, 0.0), lease FROM confirmed"
    f" WHERE destination = ? AND {_IN}"
)
_OTHERS = (
    f"SELECT subject FROM links WHERE {_IN}",
    "SELECT other FROM links WHERE other > ? AND other <= ?",
    f"SELECT subject FROM held WHERE {_IN}",
    "SELECT mine.subject FROM identifiers AS mine JOIN identifiers AS theirs ON theirs.identifier = mine.identifier"
    f" AND theirs.subject <> mine.subject WHERE {_MINE}",
)
_FOREIGN = (
    "SELECT mine.subject FROM identifiers AS mine JOIN confirmed ON confirmed.destination = ?"
    f" AND confirmed.address = mine.identifier AND confirmed.subject <> mine.subject WHERE {_MINE}"
)
_DELETING = (
    "SELECT mine.subject FROM identifiers AS mine JOIN deletion_addresses ON deletion_addresses.destination = ?"
    f" AND deletion_addresses.address = mine.identifier WHERE {_MINE}"
)
