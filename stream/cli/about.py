"""What is known of a person, gathered from the store."""

from typing import Any

from msgspec import Struct

from stream import facts
from stream.person import Person
from stream.snapshot import Snapshot, read
from stream.store import Store
from stream.store.deletions import Deletion


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


class Request(Struct, frozen=True):
    """One deletion that the person was part of: the receipt, once its state is done. Who was forgotten is named only
    until then; `hash` is what stays. `erased`: rows and held deliveries removed."""

    id: str
    state: str
    time: float
    authority: str
    asked: float
    finished: float | None
    erased: int
    hash: str
    subjects: tuple[str, ...]
    addresses: tuple[str, ...]


class Found(Struct, frozen=True):
    """Everything of one person. `person` is null where nothing is left; `deleted` is the newest tombstone. `rows`: what
    other processors than those of `person` remember, by table and subject."""

    subject: str
    key: str
    subjects: tuple[str, ...]
    deleted: float | None
    person: Person | None
    linked: list[Linked]
    rows: dict[str, dict[str, Any]]
    held: list[Kept]
    deletions: list[Request]


async def gather(store: Store, subject: str) -> tuple[Found, Snapshot]:
    """What is known of the person of this subject, and the snapshot that it was read from."""
    snapshot = await read(store, [subject], sorted({*facts.TABLES, *await store.tables()}))
    view = snapshot.of(subject)
    component, key = view.component, view.component.key
    rows = snapshot.rows(key)
    found = Found(
        subject=subject,
        key=key,
        subjects=component.subjects,
        deleted=max(view.tombstones.values(), default=None),
        person=snapshot.person(key),
        linked=[Linked(one, owner, since) for one, (owner, since) in sorted(component.links.items())],
        rows={table: by_subject for table, by_subject in rows.items() if table not in facts.TABLES},
        held=[Kept(h.id, h.processor, h.reason, h.since) for h in await store.held.of(component.subjects)],
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
        addresses=one.addresses,
    )


def is_known(found: Found) -> bool:
    """Is there anything at all: facts, links, a tombstone, a held delivery?"""
    something = found.person or found.linked or found.rows or found.held or found.deletions
    return bool(something) or found.deleted is not None
