"""Projection, Sync, Reactor and Table: what an author of a processor writes against."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from stream.connector import Connector, Verb
from stream.events import Event
from stream.person import Person

T = TypeVar("T", bound=Struct)


class Erasable(Protocol):
    """A row that can tell old from new may say what is left of it when everything up to `time` must be forgotten.

    A row without this method is erased whole."""

    def without(self, time: float) -> Any | None:
        """This row as if nothing at or before `time` had ever been seen; None if nothing is left."""
        ...


class Batch(Protocol):
    """What stands behind the tables of a running projection (stream/projector.py)."""

    def get(self, table: str, kind: type[Any], subject: str) -> Any | None: ...
    def put(
        self, table: str, subject: str, value: Struct | None, changed: str | None, renewed: str | None = None
    ) -> None: ...
    def link(self, subject: str, other: str, time: float) -> None: ...
    def forget(self, subject: str, time: float, request: str, authority: str) -> None: ...
    def address(self, subject: str, address: str) -> None: ...
    def identify(self, subject: str, identifiers: Iterable[str]) -> None: ...


class Table(Generic[T]):
    """One kind of row that a projection remembers: subject → a msgspec Struct. Declared as a class attribute."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name = name
        self.kind = kind
        self.batch: Batch | None = None

    def get(self, subject: str) -> T | None:
        """This subject's row, a copy of one's own, or None. Sees what earlier events have put."""
        assert self.batch is not None, f"table {self.name} is used outside handle()"
        value: T | None = self.batch.get(self.name, self.kind, subject)
        return value

    def put(self, subject: str, value: T | None, changed: str | None = None, renewed: str | None = None) -> None:
        """Keeps the row (None: removes it), if handle() returns. `changed` names the facet of the person that others
        should hear of; without it, nothing is published. `renewed` names one whose values are the same as before but
        were said again, later: others hear of it where a linked subject says otherwise, since then the later one
        counts (in the tables of which a person is computed; elsewhere it says nothing). What is older than the
        subject's tombstone is not kept."""
        assert self.batch is not None, f"table {self.name} is used outside handle()"
        self.batch.put(self.name, subject, value, changed, renewed)


class Projection:
    """Remembers. `handle` is a plain function of an event and of rows: no clock, no I/O, no randomness. It may be
    called again for the same event; only what the last call put is kept, once."""

    name: str
    topics: tuple[str, ...] = ()
    """Segment's message types that it reads: "track", "identify" …"""

    batch: Batch

    def handle(self, event: Event) -> None:
        """Changes rows for one event. Raise Skip or Dead to end it otherwise; anything else raised is a bug and ends
        as dead too."""
        raise NotImplementedError

    def refused(self, event: Event) -> None:
        """Called instead of handle() for an event that is older than its subject's tombstone. Nothing about that
        subject is kept; links, addresses, and what the event says about others (a group) are. Nothing by default."""

    def subjects(self, event: Event) -> tuple[str, ...]:
        """Whose rows to load ahead of handle(). A wrong answer costs time, never correctness."""
        return (event.subject,)

    def link(self, subject: str, other: str, time: float) -> None:
        """Says that `subject` (an anonymous one, or an alias) is `other` (a user), since `time`. Only `profiles`
        does."""
        self.batch.link(subject, other, time)

    def forget(self, subject: str, time: float, request: str, authority: str) -> None:
        """Asks that nothing up to `time` be remembered about this subject's person. Idempotent in `request`."""
        self.batch.forget(subject, time, request, authority)

    def address(self, subject: str, address: str) -> None:
        """Names an address of a deleted subject (`email:a@b.c`) that destinations may know."""
        self.batch.address(subject, address)

    def identify(self, subject: str, identifiers: Iterable[str]) -> None:
        """Says that `subject` is known by these identifiers (`email:a@b.c`) and no others, so that all who share an
        address are found. What is older than the subject's tombstone is not kept. Only `profiles` does."""
        self.batch.identify(subject, identifiers)

    def bound_to(self, batch: Batch) -> "Projection":
        """A copy of this projection whose tables stand on `batch`."""
        bound = _copy(self)
        bound.batch = batch
        for attribute, table in self.tables().items():
            own: Table[Any] = Table(table.name, table.kind)
            own.batch = batch
            setattr(bound, attribute, own)
        return bound

    @classmethod
    def tables(cls) -> dict[str, Table[Any]]:
        """The declared tables, by attribute."""
        return {
            name: value
            for kind in reversed(cls.__mro__)
            for name, value in vars(kind).items()
            if isinstance(value, Table)
        }


def _copy(projection: Projection) -> Projection:
    twin = object.__new__(type(projection))
    twin.__dict__.update(projection.__dict__)
    return twin


class Want(Struct, frozen=True):
    """One thing that a destination should have. `value`: of set_membership and set_consent whether (bool); of
    upsert_profile the profile (dict); of delete_person None. `purpose`: the sync's own, if empty."""

    address: str
    verb: Verb
    thing: str
    value: Any = None
    purpose: str = ""

    @property
    def gives(self) -> bool:
        """Or does it take away?"""
        return self.verb == "upsert_profile" or (self.verb != "delete_person" and bool(self.value))


class Sync:
    """Makes one destination match what is known of people. `wanted` is a plain function of a person: no clock, no I/O,
    no randomness. The engine compares, asks the gate, sends the difference, and remembers what was told."""

    name: str
    connector: Connector
    purpose: str = "internal"
    deletes: bool = False
    """Does it delete people (delete_person)? Then a deletion waits for it."""
    facets: tuple[str, ...] = ()
    """Look only when one of these changed (besides `identity` and `deletion`, which always count); empty: any."""

    def wanted(self, person: Person) -> Sequence[Want]:
        """All that the destination should have of this person; what is not among it is taken away again. Raise Skip or
        Dead to leave it as it is."""
        raise NotImplementedError


class Reactor:
    """Acts once per event: `handle` awaits `app.http.run(...)`. Events of one key come one at a time, in order."""

    name: str
    topics: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    """The purposes that handle() names, so that `stream check` finds an undeclared one."""

    async def handle(self, event: Event) -> None:
        """Acts. Raise Retry, Dead or Skip to end it otherwise; anything else raised is a bug: tried again a few times,
        then dead."""
        raise NotImplementedError


Processor = Projection | Sync | Reactor

Build = Callable[[Any, dict[str, Any]], Sequence[Processor]]
"""`build(app, settings)`, the one function that a file in processors/ must have."""
