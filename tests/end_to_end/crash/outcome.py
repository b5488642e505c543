"""Outcome: all that a finished run comes to, so that two can be compared, and what may never be, in any."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stream import events, lag, topics
from stream.events import Event
from stream.lease import DOUBT
from stream.message import Partition
from stream.processor import Projection
from stream.snapshot import read
from stream.store import Store
from stream.store.database import Transaction

_UNMARKED = ("counts", "events", "first_seen", "last_seen", "context", "deleted")
"""What changes of a person without being published."""
_TIMES = ("time", "first_seen", "last_seen", "deleted")

Read = Mapping[str, Sequence[tuple[Partition, Event]]]


class Outcome(msgspec.Struct, kw_only=True):
    """What two runs of one history have in common, however often they were cut."""

    people: dict[str, Any]
    purchases: dict[str, Any]
    deletions: list[tuple[str, str]]
    held: list[tuple[str, str, str]]
    profiles: dict[str, Any]  # last value of person.profile
    facets: dict[str, list[str]]  # all that person.changed said
    acted: dict[str, Any] = {}  # what acting came to (acted.py)

    def differences(self, other: "Outcome") -> list[str]:
        """What is not the same, named."""
        return [
            line
            for field in self.__struct_fields__
            for line in _lines(field, getattr(self, field), getattr(other, field))
        ]


async def unsettled(log: Any, store: Store, projections: Sequence[Projection]) -> list[str]:
    """What is still to be read, published, erased or carried out."""
    bounds, positions = await log.bounds(topics.RAW.values()), await store.positions.all()
    left = [
        f"{p.name} is at {positions.get(p.name, {}).get(at)} of {at.topic}/{at.number}, which ends at {end}"
        for p in projections
        for at, (_, end) in bounds.items()
        if at.topic.rpartition(".")[2] in p.topics and positions.get(p.name, {}).get(at) != end
    ]

    async def read(tx: Transaction) -> list[str]:
        marks = await tx.all("SELECT processor, subject, facet FROM marks")
        requests = await tx.all("SELECT id, kind FROM requests WHERE done IS NULL")
        deletions = await tx.all("SELECT id, state FROM deletions WHERE state <> 'done'")
        every = {"mark": marks, "request": requests, "deletion": deletions}
        return [f"{what} {one}" for what, rows in every.items() for one in rows]

    return left + await store.db.reading(read)


async def outcome(log: Any, store: Store, people: Mapping[str, Sequence[str]]) -> Outcome:
    """What a settled run came to; subjects are those of the named people."""
    names = {subject: name for name, subjects in people.items() for subject in subjects}
    snapshot = await read(store, list(names))
    hashes = {store.people.hash(subject): subject for subject in names}
    rows = await store.db.reading(lambda tx: tx.all("SELECT subject, value FROM rows WHERE tbl = 'purchases'"))
    purchases = {subject: msgspec.json.decode(value) for subject, value in rows}
    return Outcome(
        people={s: _plain(snapshot.person(snapshot.components[s].key)) for s in names},
        purchases={subject: (row["amount"], row["messages"]) for subject, row in purchases.items()},
        deletions=sorted({(hashes.get(d.hash, d.hash), d.state) for d in await store.deletions.every()}),
        held=sorted({(h.processor, h.subject, h.reason) for h in await store.held.page()}),
        profiles=await _profiles(log),
        facets=await _facets(log, names),
    )


def timeless(found: Outcome) -> Outcome:
    """Without times, and without who was doubted, where those differ from run to run."""
    facets = {name: [facet for facet in said if facet != DOUBT] for name, said in found.facets.items()}
    people, profiles = _timeless(found.people), _timeless(found.profiles)
    return msgspec.structs.replace(found, people=people, profiles=profiles, facets=facets)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(found) for name, found in value.items() if name not in _TIMES}
    return [_timeless(found) for found in value] if isinstance(value, list) else value


async def violations(log: Any, store: Store, projections: Sequence[Projection], acked: Sequence[str]) -> list[str]:
    """What holds in every settled run, and does not in this one."""
    found = await unsettled(log, store, projections)
    raw = {
        kind: [(d.partition, events.decode(d.message, d.time)) async for d in log.read(topic)]
        for kind, topic in topics.RAW.items()
    }
    kept = {event.message_id for read in raw.values() for _, event in read}
    found += [f"{message_id} was acknowledged, and is gone" for message_id in acked if message_id not in kept]
    found += await fates(log, store, lag.readers(projections))
    found += await _purchases(store, raw)
    found += await _revisions(log)
    found += await _stale(log, store)
    named = [d.id for d in await store.deletions.every() if d.subjects or d.outstanding]
    return found + [f"deletion {number} is done and still names somebody" for number in named]


async def fates(log: Any, store: Store, readers: Sequence[lag.Reader]) -> list[str]:
    """Every offset that was read has one fate; what is held has not left."""

    async def read(tx):
        tallies = await tx.all("SELECT processor, topic, part, fate, amount FROM tallies")
        held = dict(await tx.all("SELECT processor, count(*) FROM held GROUP BY processor"))
        return held, tallies

    held, tallies = await store.db.reading(read)
    found = []
    for reader in readers:
        name, mine = reader.name, [(Partition(*at), fate, n) for of, *at, fate, n in tallies if of == reader.name]
        for at, (first, end) in (await log.bounds(reader.topics)).items():
            given = sum(amount for where, fate, amount in mine if where == at and not fate.startswith("left:"))
            if given != end - first:
                found.append(f"{name} gave {given} fates to the {end - first} of {at.topic}/{at.number}")
        came = sum(amount for _, fate, amount in mine if fate == "held")
        left = sum(amount for _, fate, amount in mine if fate.startswith("left:"))
        if came - left != held.get(name, 0):
            found.append(f"{name} holds {held.get(name, 0)}: {came} came there, {left} left")
    return found


async def _purchases(store: Store, raw: Read) -> list[str]:
    """Every purchase that was applied was counted once, in the very transaction that gave it its fate."""

    async def read(tx):
        rows = await tx.all("SELECT subject, value FROM rows WHERE tbl = 'purchases'")
        applied = (
            await tx.all(
                "SELECT coalesce(sum(amount), 0) FROM tallies WHERE processor = 'purchases'"
                " AND fate IN ('applied', 'left:applied')"
            )
        )[0][0]
        return applied, rows

    applied, rows = await store.db.reading(read)
    counted = {subject: msgspec.json.decode(value)["handled"] for subject, value in rows}
    found = []
    if counted.get("group:shop", 0) != applied:
        found.append(f"{counted.get('group:shop', 0)} purchases are counted, and {applied} were applied")
    whole = Counter(e.subject for _, e in raw["track"] if isinstance(e.properties.get("amount"), int))
    for subject in ("user:ann",):  # nothing of ann's was retried
        if counted.get(subject, 0) != whole[subject]:
            found.append(f"{counted.get(subject, 0)} purchases of {subject} are counted, the log has {whole[subject]}")
    return found


async def _revisions(log: Any) -> list[str]:
    """Who keeps the value with the highest revision keeps the same as who keeps the last one."""
    said: dict[bytes, list[tuple[int, Any]]] = {}
    async for delivery in log.read(topics.PERSON_PROFILE):
        key, value = delivery.message.key, delivery.message.value
        if value is None:
            said[key] = []
        else:
            published = msgspec.json.decode(value)
            said.setdefault(key, []).append((published["revision"], _marked(published["person"])))
    newest = {key: (max(values, key=lambda value: value[0]), values[-1]) for key, values in said.items() if values}
    return [
        f"{key!r}: revision {high[0]} is not what {last[0]} says"
        for key, (high, last) in newest.items()
        if high[1] != last[1]
    ]


async def _stale(log: Any, store: Store) -> list[str]:
    """What person.profile says last is what the store says."""
    published = await _profiles(log)
    snapshot = await read(store, list(published))
    now = {}
    for key in published:
        component = snapshot.components[key]
        person = snapshot.person(component.key) if component.key == key else None
        now[key] = None if person is None else _marked(_plain(person))
    return [f"person.profile of {key} is not what the store says" for key in now if now[key] != published[key]]


async def _profiles(log: Any) -> dict[str, Any]:
    last: dict[str, Any] = {}
    async for delivery in log.read(topics.PERSON_PROFILE):
        value = delivery.message.value
        last[delivery.message.key.decode()] = value and _marked(msgspec.json.decode(value)["person"])
    return {key: person for key, person in sorted(last.items()) if person is not None}


async def _facets(log: Any, names: Mapping[str, str]) -> dict[str, list[str]]:
    """By person, not by key: whether somebody was heard of before or after a link depends on the batches."""
    said: dict[str, set[str]] = {}
    async for delivery in log.read(topics.PERSON_CHANGED):
        key = delivery.message.key.decode()
        said.setdefault(names.get(key, key), set()).update(msgspec.json.decode(delivery.message.value)["facets"])
    return {name: sorted(facets) for name, facets in sorted(said.items())}


def _marked(person: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in person.items() if name not in _UNMARKED}


def _plain(person: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(person))


def _lines(name: str, mine: Any, theirs: Any) -> list[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [
            line for key in sorted({*mine, *theirs}) for line in _lines(f"{name}.{key}", mine.get(key), theirs.get(key))
        ]
    return [] if mine == theirs else [f"{name} is {mine} instead of {theirs}"]
