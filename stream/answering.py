"""Answering: what the store says to the gate's questions, in one transaction."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from stream import facts
from stream.config import Config, PurposeConfig
from stream.errors import ConfigError, NotYet
from stream.person import Person, assemble
from stream.purpose import CHANNEL, INTERNAL, refusal
from stream.snapshot import Snapshot, read_in
from stream.store import Store
from stream.store.database import Transaction
from stream.store.graph import Component
from stream.store.identifiers import MOST
from stream.store.obstacles import ANYWHERE
from stream.subjects import subject

ASKED = ("profiles", "consent", "deletion")
"""The projections that the gate relies on: who is whom, what they allow, who is to be forgotten."""

AFTER_S = 1.0  # how long to wait where nobody may be given anything


class Question(Struct, frozen=True):
    """May `destination` give something to this subject's person, for this purpose?

    `address`: how the destination knows them (`email:a@b.c`): whoever shares it must allow it too. `time`: of the
    event that it comes of; without one, it comes of what is known of the person now. `consent`: the event's own
    (facts.preferences); a no in it counts, whatever is known, and a yes where nothing is."""

    destination: str
    subject: str
    purpose: str
    address: str = ""
    time: float = math.inf
    consent: Mapping[str, bool] | None = None


class Answering:
    """Answers questions as a transaction sees the store. Raises ConfigError for a channel that nobody subscribes to."""

    def __init__(self, store: Store, clock: Callable[[], float], config: Config) -> None:
        self._store = store
        self._clock = clock
        self._max_lag_s = config.gate.max_lag_s
        self._spaces = {"", *(source.space for source in config.sources.values())}
        self._purposes = {INTERNAL: PurposeConfig(), **config.purposes}
        for name, purpose in config.purposes.items():
            if wrong := [channel for channel in purpose.channels if not CHANNEL.fullmatch(channel)]:
                raise ConfigError(
                    f"purposes.{name}.channels: {wrong[0]!r} is no channel; allowed: one such as email, or list:NAME"
                )

    def check(self, questions: Iterable[Question]) -> None:
        """Raises ConfigError where a purpose is not declared."""
        if unknown := {question.purpose for question in questions} - self._purposes.keys():
            known = ", ".join(sorted(self._purposes))
            raise ConfigError(f"there is no [purposes.{min(unknown)}]; declared are: {known}")

    async def refusals(self, tx: Transaction, questions: Sequence[Question]) -> list[str | None]:
        """See Gate.refusals."""
        await self._ready(tx)
        found = _Found()
        await self._share(tx, found, {question.address for question in questions if question.address})
        subjects = {question.subject for question in questions}.union(*found.sharing.values())
        tables = ("consent",) if any(self._asks(question) for question in questions) else ()
        found.snapshot = await read_in(tx, self._store, subjects, tables)
        await self._obstruct(tx, found, questions)
        return [self._refusal(found, question) for question in questions]

    async def _ready(self, tx: Transaction) -> None:
        standing = await self._store.positions.standing(tx)
        now = self._clock()
        for name in ASKED:
            time = standing.get(name, -math.inf)
            if time is None:
                raise NotYet(f"gate:{name}_stopped", after=AFTER_S)
            if abs(now - time) > self._max_lag_s:  # one that lies ahead was taken by a clock that was wrong
                raise NotYet(f"gate:{name}_behind", after=AFTER_S)

    async def _share(self, tx: Transaction, found: "_Found", addresses: Collection[str]) -> None:
        """Of each address the subjects that are known by it and stand for somebody."""
        if not addresses:
            return
        store = self._store
        known_by = await store.identifiers.subjects(tx, {_plain(address) for address in addresses})
        named = {address: self._named(address) for address in addresses}
        there = await store.obstacles.known(tx, set[str]().union(*named.values()), tuple(facts.TABLES))
        for address in addresses:
            sharing = known_by[_plain(address)]
            if len(sharing) > MOST:
                found.crowded.add(address)
                sharing = set()
            together = sharing | (named[address] & there)
            found.sharing[address] = {one for one in together if store.people.stands_for_somebody(one)}

    def _named(self, address: str) -> set[str]:
        """The subjects that one of our own ids names, in every space."""
        kind, _, identifier = address.partition(":")
        short = _OWN.get(kind)
        return {subject(space, short, identifier) for space in self._spaces} if short and identifier else set()

    async def _obstruct(self, tx: Transaction, found: "_Found", questions: Sequence[Question]) -> None:
        obstacles = self._store.obstacles
        subjects = {one for component in found.snapshot.components.values() for one in component.subjects}
        found.held = await obstacles.held(tx, subjects, ("consent", "deletion"))
        at = {(question.destination, question.address) for question in questions if question.address}
        if not await self._store.people.serial(tx):  # nobody was ever deleted
            return
        found.deleting_at = await obstacles.deleting_at(tx, {of for of, _ in at}, {address for _, address in at})
        found.deleting = await obstacles.deleting(tx, subjects)
        # What comes of no event comes of what was known: once nothing of it is left, it was about the deleted.
        timeless = {question.subject for question in questions if math.isinf(question.time)}
        buried = {one for one in timeless if found.snapshot.of(one).tombstones}
        if buried:
            left = await read_in(tx, self._store, buried, tuple(facts.TABLES))
            found.gone = {one for one in buried if left.person(left.components[one].key) is None}

    def _asks(self, question: Question) -> bool:
        """Is any consent needed?"""
        purpose = self._purposes[question.purpose]
        return bool(purpose.categories or purpose.channels)

    def _refusal(self, found: "_Found", question: Question) -> str | None:
        if found.deleted(question):
            return "deleted"
        people = found.people(question)
        subjects = [one for component in people.values() for one in component.subjects]
        if found.obstructed(question, subjects):
            return "deleting"
        if not found.held.isdisjoint(subjects):
            return "consent_held"
        if not self._asks(question):
            return None
        if question.address in found.crowded:
            return "shared"
        purpose = self._purposes[question.purpose]
        own, address = found.snapshot.components[question.subject].key, _plain(question.address)
        said = {key: question.consent if key == own else None for key in people}
        reasons = (refusal(purpose, found.person(people[key]), address, said[key]) for key in people)
        return next((reason for reason in reasons if reason), None)


class _Found:
    """What was read. `sharing`: address → its subjects; `crowded`: addresses that have too many of them; `gone`:
    subjects of whose people nothing is left."""

    def __init__(self) -> None:
        self.snapshot = Snapshot({}, {}, {})
        self.sharing: dict[str, set[str]] = {}
        self.crowded: set[str] = set()
        self.held: set[str] = set()
        self.gone: set[str] = set()
        self.deleting: dict[str, set[str]] = {}
        self.deleting_at: set[tuple[str, str]] = set()
        self._persons: dict[str, Person] = {}

    def deleted(self, question: Question) -> bool:
        """Is it about what must be forgotten?"""
        time = self.snapshot.of(question.subject).tombstones.get(question.subject)
        return question.subject in self.gone or (time is not None and question.time <= time)

    def people(self, question: Question) -> dict[str, Component]:
        """All who must allow it, by key, the asked one first."""
        subjects = [question.subject, *sorted(self.sharing.get(question.address, ()))]
        components = [self.snapshot.components[one] for one in subjects]
        return {component.key: component for component in components}

    def obstructed(self, question: Question, subjects: Iterable[str]) -> bool:
        """Must the destination still delete the address, or one of the subjects?"""
        if (question.destination, question.address) in self.deleting_at:
            return True
        return any(self.deleting.get(one, set()) & {ANYWHERE, question.destination} for one in subjects)

    def person(self, component: Component) -> Person:
        """What they allow; nothing else is known of them here."""
        if component.key not in self._persons:
            there = self.snapshot.person(component.key)
            self._persons[component.key] = there or assemble(component.subjects, {}, {}, {})
        return self._persons[component.key]


_OWN = {"user_id": "user", "anonymous_id": "anon"}
"""Kind of address → kind of the subject that it names."""


def _plain(address: str) -> str:
    """As profiles write it."""
    kind, _, identifier = address.partition(":")
    return f"email:{identifier.strip().lower()}" if kind == "email" else address
