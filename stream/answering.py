"""Answering: what the store says to the gate's questions, in one transaction."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from stream import facts
from stream.config import Config, PurposeConfig
from stream.errors import ConfigError, NotYet
from stream.person import Person, assemble
from stream.purpose import ASKED, INTERNAL, objection, problems, refusal
from stream.sharing import Sharing, known_by, plain
from stream.snapshot import Snapshot, read_in
from stream.store import Store
from stream.store.database import Transaction
from stream.store.graph import Component
from stream.store.obstacles import ANYWHERE

AFTER_S = 1.0  # how long to wait where nobody may be given anything


class Question(Struct, frozen=True):
    """May `destination` give something to this subject's person, for this purpose?

    `address`: how the destination knows them (`email:a@b.c`): nobody who shares it may have said no. `time`: of the
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
        if wrong := next(problems(config.purposes), None):
            raise ConfigError(wrong)

    def check(self, questions: Iterable[Question]) -> None:
        """Raises ConfigError where a purpose is not declared."""
        if unknown := {question.purpose for question in questions} - self._purposes.keys():
            known = ", ".join(sorted(self._purposes))
            raise ConfigError(f"there is no [purposes.{min(unknown)}]; declared are: {known}")

    async def refusals(self, tx: Transaction, questions: Sequence[Question]) -> list[str | None]:
        """See Gate.refusals."""
        await self._ready(tx)
        addresses = {question.address for question in questions if question.address}
        found = _Found(await known_by(tx, self._store, addresses, self._spaces))
        subjects = {question.subject for question in questions}.union(*found.sharing.subjects.values())
        tables = ("consent",) if any(self._asks(question) for question in questions) else ()
        found.snapshot = await read_in(tx, self._store, subjects, tables)
        await self._obstruct(tx, found, questions)
        return [self._refusal(found, question) for question in questions]

    def of_alone(self, question: Question, person: Person) -> str | None:
        """See Gate.of_alone: nobody but the person has a say, and nothing of theirs is held or to be deleted."""
        return refusal(self._purposes[question.purpose], person, plain(question.address))

    async def _ready(self, tx: Transaction) -> None:
        standing = await self._store.positions.standing(tx)
        now = self._clock()
        for name in ASKED:
            time = standing.get(name, -math.inf)
            if time is None:
                raise NotYet(f"gate:{name}_stopped", after=AFTER_S)
            if abs(now - time) > self._max_lag_s:  # one that lies ahead was taken by a clock that was wrong
                raise NotYet(f"gate:{name}_behind", after=AFTER_S)

    async def _obstruct(self, tx: Transaction, found: "_Found", questions: Sequence[Question]) -> None:
        obstacles = self._store.obstacles
        subjects = {one for component in found.snapshot.components.values() for one in component.subjects}
        found.held = await obstacles.held(tx, subjects, ("consent", "deletion"))
        at = {(question.destination, one) for question in questions for one in _ways(question.address)}
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
        own, others = found.own(question), found.others(question)
        if found.must_delete(question) or {ANYWHERE, question.destination} & (own.deleting | others.deleting):
            return "deleting"
        if own.held or others.held:
            return "consent_held"
        if not self._asks(question):
            return None
        if question.address in found.sharing.crowded:
            return "shared"
        purpose, address = self._purposes[question.purpose], plain(question.address)
        mine = refusal(purpose, found.person(*own.people), address, question.consent)
        return mine or found.objection(question, purpose)


class _Group(Struct, frozen=True):
    """Some people. `held`: something is, that one of them said; `deleting`: where one of them has still to be
    deleted."""

    people: Sequence[Component]
    held: bool
    deleting: frozenset[str]


class _Found:
    """What was read. `gone`: subjects of whose people nothing is left. What is found of an address is kept: many may
    ask about it, and many share it."""

    def __init__(self, sharing: Sharing) -> None:
        self.sharing = sharing
        self.snapshot = Snapshot({}, {}, {})
        self.held: set[str] = set()
        self.gone: set[str] = set()
        self.deleting: dict[str, set[str]] = {}
        self.deleting_at: set[tuple[str, str]] = set()
        self._people: dict[str, Person] = {}
        self._groups: dict[str, _Group] = {}
        self._objections: dict[tuple[str, str], str | None] = {}

    def deleted(self, question: Question) -> bool:
        """Is it about what must be forgotten?"""
        time = self.snapshot.of(question.subject).tombstones.get(question.subject)
        return question.subject in self.gone or (time is not None and question.time <= time)

    def must_delete(self, question: Question) -> bool:
        """Must the destination still delete the address?"""
        return any((question.destination, one) in self.deleting_at for one in _ways(question.address))

    def own(self, question: Question) -> _Group:
        """The person it is about."""
        return self._group([question.subject])

    def others(self, question: Question) -> _Group:
        """All who share the address, and that person perhaps among them."""
        if question.address not in self._groups:
            self._groups[question.address] = self._group(sorted(self.sharing.subjects.get(question.address, ())))
        return self._groups[question.address]

    def objection(self, question: Question, purpose: PurposeConfig) -> str | None:
        """What somebody of those who share the address said against it."""
        key = question.purpose, question.address
        if key not in self._objections:
            people, address = self.others(question).people, plain(question.address)
            said = (objection(purpose, self.person(one), address) for one in people)
            self._objections[key] = next((reason for reason in said if reason), None)
        return self._objections[key]

    def person(self, component: Component) -> Person:
        """What they allow; nothing else is known of them here."""
        found = self._people.get(component.key)
        if found is None:
            found = self.snapshot.person(component.key) or assemble(component.subjects, {}, {}, {})
            self._people[component.key] = found
        return found

    def _group(self, subjects: Iterable[str]) -> _Group:
        people = {component.key: component for component in map(self.snapshot.components.__getitem__, subjects)}
        every = {one for component in people.values() for one in component.subjects}
        deleting = frozenset[str]().union(*(self.deleting.get(one, ()) for one in every))
        return _Group(list(people.values()), not self.held.isdisjoint(every), deleting)


def _ways(address: str) -> set[str]:
    """An address as it was given, and as profiles write it: a destination may have been told of either."""
    return {address, plain(address)} if address else set()
