"""What is known of a person, gathered from the store."""

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Struct

from stream import facts
from stream.person import Person
from stream.snapshot import Snapshot, read
from stream.store import Store
from stream.store.confirmed import Told
from stream.store.deletions import Deletion
from stream.store.receipts import Receipt


class Linked(Struct, frozen=True):
    """This subject is that one, since then."""

    subject: str
    owner: str
    since: float


class Kept(Struct, frozen=True):
    """One held delivery of the person."""

    id: int
    processor: str
    reason: str
    since: float


class Confirmed(Struct, frozen=True):
    """What a destination was last told about one thing of an address, on behalf of `subject`. Where it is not `known`
    what it holds (something is being sent, or the answer was unclear), `value` is null."""

    destination: str
    address: str
    thing: str
    subject: str
    known: bool
    value: Any
    told: float | None


class Request(Struct, frozen=True):
    """One deletion that the person was part of. Who was forgotten is named only until it is done, and so are the
    addresses that destinations have still to delete; `hash` and the receipts of destinations are what stays. `erased`:
    rows and held deliveries removed."""

    id: str
    state: str
    time: float
    authority: str
    asked: float
    finished: float | None
    erased: int
    hash: str
    subjects: tuple[str, ...]
    outstanding: dict[str, tuple[str, ...]]
    receipts: tuple[Receipt, ...]


class Found(Struct, frozen=True):
    """Everything of one person. `person` is null where nothing is left; `deleted` is the newest tombstone. `rows`: what
    other processors than those of `person` remember, by table and subject. `confirmed`: what destinations were told on
    the person's behalf, or on another's about an address of theirs."""

    subject: str
    key: str
    subjects: tuple[str, ...]
    deleted: float | None
    person: Person | None
    linked: list[Linked]
    rows: dict[str, dict[str, Any]]
    held: list[Kept]
    confirmed: list[Confirmed]
    deletions: list[Request]


async def gather(store: Store, subject: str, destinations: Collection[str] = ()) -> tuple[Found, Snapshot]:
    """What is known of the person of this subject, these destinations included; and the snapshot it was read from."""
    snapshot = await read(store, [subject], sorted({*facts.TABLES, *await store.tables()}))
    view = snapshot.of(subject)
    component, key = view.component, view.component.key
    rows = snapshot.rows(key)
    person = snapshot.person(key)
    addresses = person.addresses(person.identifiers) if person else []
    told = await store.db.reading(lambda tx: store.confirmed.anywhere(tx, component.subjects, addresses, destinations))
    found = Found(
        subject=subject,
        key=key,
        subjects=component.subjects,
        deleted=max(view.tombstones.values(), default=None),
        person=person,
        linked=[Linked(one, owner, since) for one, (owner, since) in sorted(component.links.items())],
        rows={table: by_subject for table, by_subject in rows.items() if table not in facts.TABLES},
        held=[Kept(h.id, h.processor, h.reason, h.since) for h in await store.held.of(component.subjects)],
        confirmed=[_confirmed(one) for one in told],
        deletions=[request(one) for one in await store.deletions.about(component.subjects)],
    )
    return found, snapshot


def request(one: Deletion) -> Request:
    """A deletion, as it is shown."""
    return Request(
        id=one.id,
        state=one.state,
        time=one.time,
        authority=one.authority,
        asked=one.asked,
        finished=one.finished,
        erased=one.erased,
        hash=one.hash,
        subjects=one.subjects,
        outstanding=one.outstanding,
        receipts=one.receipts,
    )


def is_known(found: Found) -> bool:
    """Is there anything at all: facts, links, a tombstone, a held delivery, something that a destination was told?"""
    something = found.person or found.linked or found.rows or found.held or found.confirmed or found.deletions
    return bool(something) or found.deleted is not None


def _confirmed(one: Told) -> Confirmed:
    return Confirmed(
        destination=one.destination,
        address=one.address,
        thing=one.thing,
        subject=one.subject,
        known=one.value is not None,
        value=None if one.value is None else msgspec.json.decode(one.value),
        told=one.told,
    )
