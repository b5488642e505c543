"""Sight: some people as one transaction saw them, with what a destination was told, and who shares their addresses."""

from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct, structs

from stream import facts
from stream.person import Person
from stream.sharing import known_by
from stream.snapshot import Snapshot, read_in
from stream.store import Store
from stream.store.alone import Alone, alone
from stream.store.confirmed import Told
from stream.store.database import Transaction
from stream.store.graph import Component


class Sight(Struct, frozen=True):
    """Some people. `told`: on their behalf; `deletion`: by a person's key, the addresses that the destination has still
    to delete; `keys`: whose a subject is."""

    snapshot: Snapshot
    told: Sequence[Told]
    deletion: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, str]

    def person(self, key: str) -> Person | None:
        """Somebody; None if nothing is known of them, and nothing is to be deleted."""
        person, deletion = self.snapshot.person(key), self.deletion.get(key)
        if not deletion:
            return person
        if person is None:  # erased already; the destination is not done
            person = Person(key=key, subjects=tuple(s for s, of in self.keys.items() if of == key))
        return structs.replace(person, deletion=deletion)


class Shared(Struct, frozen=True):
    """Addresses: what was told about them; whose they are, or on whose behalf it was told; and those of these people
    who were not seen before."""

    told: Sequence[Told]
    subjects: Mapping[str, Collection[str]]
    others: Sight


class Addressed(Struct, frozen=True):
    """Some addresses; those of them where something is `wanted`; and the subjects who were `seen`."""

    addresses: Collection[str]
    wanted: Collection[str]
    seen: Collection[str]


class Seeing:
    """Reads for one destination, in transactions of others."""

    def __init__(self, store: Store, destination: str, spaces: Collection[str]) -> None:
        self._store = store
        self._destination = destination
        self._spaces = spaces

    async def each_people(self, tx: Transaction, asked: Sequence[Collection[str]]) -> list[Sight]:
        """The people of each of these subjects."""
        return [await self.people(tx, subjects) for subjects in asked]

    async def each_shared(self, tx: Transaction, asked: Sequence[Addressed]) -> list[Shared]:
        """For each of them: what was told about these addresses; and who shares them, where it was, or where something
        is wanted; besides the subjects who were seen."""
        return [await self._shared_by(tx, one) for one in asked]

    async def people(self, tx: Transaction, subjects: Collection[str]) -> Sight:
        """The people of these subjects."""
        store, destination = self._store, self._destination
        snapshot = await read_in(tx, store, subjects, tuple(facts.TABLES))
        components = {component.key: component for component in snapshot.components.values()}
        keys = {subject: key for key, component in components.items() for subject in component.subjects}
        told = await store.confirmed.about(tx, destination, keys, ())
        deletion: dict[str, tuple[str, ...]] = {}
        if await store.deletions.open_at(tx, destination, keys):
            for key, component in components.items():
                deletion[key] = await store.deletions.open_at(tx, destination, component.subjects)
        return Sight(snapshot, told, deletion, keys)

    async def alone(
        self, tx: Transaction, between: tuple[str, str], known: Callable[[int], bool]
    ) -> tuple[Mapping[str, Alone], Sight]:
        """Of the subjects after the first and up to the second one, those who are alone; and those of them whose stamp
        is not known."""
        store = self._store
        found = await alone(tx, store.people, self._destination, between)
        fresh = [subject for subject, one in found.items() if not known(one.stamp)]
        rows = await store.about(tx, fresh, list(facts.TABLES)) if fresh else {}
        components = {subject: Component(subject, (subject,)) for subject in fresh}
        told = [row for subject in fresh for row in found[subject].told]
        return found, Sight(Snapshot(components, rows, {}), told, {}, dict(zip(fresh, fresh, strict=True)))

    async def _shared_by(self, tx: Transaction, asked: Addressed) -> Shared:
        store = self._store
        told = await store.confirmed.about(tx, self._destination, (), asked.addresses)
        matter = {*asked.wanted, *(one.address for one in told)}
        shared = {**(await known_by(tx, store, matter, self._spaces)).subjects}
        for one in told:
            shared[one.address].add(one.subject)
        others = set[str]().union(*shared.values()) - set(asked.seen)
        return Shared(told, shared, await self.people(tx, others) if others else NOBODY)


NOBODY = Sight(Snapshot({}, {}, {}), (), {}, {})
