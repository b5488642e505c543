"""Looking: what a sync wants of some people, now, and how that differs from what its destination was told.

One person or a page of a thousand are read with the same few statements: their facts, and what was told on their
behalf; then who shares their addresses, and what was told about these.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct, field

from stream.batch import Surroundings
from stream.connector import can
from stream.core import compare
from stream.core.compare import Answers, Key, Wanted
from stream.errors import Dead, NotYet, Skip
from stream.gate import Question
from stream.person import Person
from stream.processor import Sync, Want
from stream.sight import Seeing, Shared, Sight
from stream.store.confirmed import Told
from stream.store.graph import Component

T = TypeVar("T")

_FEW = 8  # people: less than a turn


class Asked(Protocol):
    """What is asked of the gate."""

    async def refusals(self, questions: Sequence[Question]) -> list[str | None]: ...


class Look(Struct, frozen=True):
    """What one look at a person found. `send`: what must be sent, in order; `refused`: what would be, and why not;
    `told`: what was told of each until now; `people`: those on whose behalf it is. `waits`: the gate answers nobody for
    now, and would have to. `error`: what wanted() raised; then nothing is sent. `addresses`: all that was looked at."""

    person: str
    addresses: Collection[str] = ()
    send: Sequence[Wanted] = ()
    refused: Mapping[Key, str] = {}
    told: Mapping[Key, Told] = {}
    people: Mapping[str, Person] = {}
    waits: NotYet | None = None
    error: Exception | None = None

    @property
    def differs(self) -> bool:
        """Is there anything to do, or to say?"""
        return bool(self.send or self.waits) or not isinstance(self.error, Skip | None)


class Looking:
    """Looks at people for one sync. Sends nothing, writes nothing."""

    def __init__(self, sync: Sync, around: Surroundings, gate: Asked, spaces: Collection[str] = ("",)) -> None:
        self._sync = sync
        self._around = around
        self._gate = gate
        self._seeing = Seeing(around.store, sync.connector.name, spaces)

    async def at(self, subject: str, everything: bool = False) -> Look:
        """A look at this subject's person. `everything`: what is wanted is to be sent even where it is known to be
        so."""
        (look,) = await self._looks([subject], everything, lambda component: True)
        return look

    async def page(self, subjects: Collection[str], everything: bool = False) -> list[Look]:
        """A look at each of the people whose first subject is among these: over pages of all subjects, one at each."""
        among = set(subjects)
        return await self._looks(subjects, everything, lambda component: component.subjects[0] in among)

    async def _looks(
        self, subjects: Collection[str], everything: bool, chosen: Callable[[Component], bool]
    ) -> list[Look]:
        db = self._around.store.db
        sight = await db.reading(lambda tx: self._seeing.people(tx, subjects))
        page = _Page(sorted({one.key for one in sight.snapshot.components.values() if chosen(one)}))
        await self._each(sorted(set(sight.keys.values())), lambda key: self._open(page, sight, key))
        for one in sight.told:
            page.addresses[sight.keys[one.subject]].add(one.address)
        addresses = set[str]().union(*(page.addresses[key] for key in page.looked))
        wanted = {one.address for one in page.wanted}
        shared = await db.reading(lambda tx: self._seeing.shared(tx, addresses, wanted & addresses, sight.keys))
        await self._each(sorted(set(shared.others.keys.values())), lambda key: self._open(page, shared.others, key))
        page.join({**shared.others.keys, **sight.keys}, shared, addresses)
        await self._ask(page, everything)
        looks: list[Look] = []
        await self._each(page.looked, lambda key: looks.append(page.look(key, self._sync.name, everything)))
        return looks

    def _open(self, page: "_Page", sight: Sight, key: str) -> None:
        """Puts somebody together, and asks what is wanted of them."""
        page.addresses.setdefault(key, set())
        person = sight.person(key)
        if person is None:
            return
        page.people[key] = person
        try:
            wanted = [self._wanted(want, person) for want in self._sync.wanted(person)]
        except Exception as error:  # an author's bug, or what it raised: it ends the look, named
            page.errors[key] = error
            return
        page.wanted += wanted
        page.addresses[key].update(one.address for one in wanted)
        page.addresses[key].update(person.addresses(self._sync.connector.kinds))  # what others told there is ours, too

    def _wanted(self, want: Want, person: Person) -> Wanted:
        if want.verb not in compare.VERBS:
            raise ValueError(f"{want.verb} is no verb; there are: {', '.join(compare.VERBS)}")
        if want.verb != "delete_person" and not can(self._sync.connector, want.verb):
            raise Dead(f"cannot:{want.verb}")
        if want.verb in ("set_membership", "set_consent") and not isinstance(want.value, bool):
            raise TypeError(f"the value of {want.verb} must be True or False")
        return Wanted(
            *(want.address, want.thing, want.verb, want.value, compare.text(want.value)),
            *(person.key, want.purpose or self._sync.purpose, person.last_seen or 0.0),
        )

    async def _ask(self, page: "_Page", everything: bool) -> None:
        """Asks the gate about all that gives, once; known or not: what is refused is taken away again. Of several who
        want the same, those count who may be given it."""
        asked = {
            (key, one.person, one.purpose): one
            for key, those in page.together.items()
            if those[0].gives and (everything or not _profile_known(those[0], page.told.get(key)))
            for one in those
            if one.gives
        }
        if not asked:
            return
        destination = self._sync.connector.name
        questions = [Question(destination, one.person, one.purpose, one.address) for one in asked.values()]
        try:
            reasons = await self._gate.refusals(questions)
        except NotYet as error:
            page.waits = error
            page.answers = Answers({}, asked=False)
            return
        page.refuse({one: reason for one, reason in zip(asked, reasons, strict=True) if reason is not None})

    async def _each(self, items: Sequence[T], do: Callable[[T], None]) -> None:
        """Does it with each; many, in turns with all else that runs here."""
        if len(items) <= _FEW:
            for item in items:
                do(item)
            return
        left = iter(items)
        done = False
        while not done:
            async with self._around.turns.next() as turn:
                while not turn.over and not done:
                    done = _next(left, do)


class _Page(Struct):
    """People who are looked at together, on the way."""

    looked: list[str]
    people: dict[str, Person] = field(default_factory=dict)
    addresses: dict[str, set[str]] = field(default_factory=dict)
    wanted: list[Wanted] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    together: dict[Key, list[Wanted]] = field(default_factory=dict)
    told: dict[Key, Told] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    keys: dict[str, list[Key]] = field(default_factory=dict)
    answers: Answers = Answers({})
    waits: NotYet | None = None

    def join(self, owners: Mapping[str, str], shared: Shared, addresses: Collection[str]) -> None:
        """Takes together what all who share these addresses want of them."""
        self.together = compare.together(one for one in self.wanted if one.address in addresses)
        self.told = {(one.address, one.thing): one for one in shared.told}
        for key in self.together.keys() | self.told.keys():
            self.keys.setdefault(key[0], []).append(key)
        if self.errors:  # what somebody wants is not known: nothing of what they share may be touched
            for address, subjects in shared.subjects.items():
                for error in (self.errors[owners[s]] for s in subjects if owners[s] in self.errors):
                    self.failed[address] = error

    def refuse(self, reasons: Mapping[tuple[Key, str, str], str]) -> None:
        """Leaves out who may not be given what they want: key, person, purpose → why. What nobody may be given is
        refused."""
        refused: dict[Key, str] = {}
        for (key, *_), reason in reasons.items():
            refused.setdefault(key, reason)
        for key in list(refused):
            left = [one for one in self.together[key] if (key, one.person, one.purpose) not in reasons]
            if any(one.gives for one in left):
                self.together[key] = left
                del refused[key]
        self.answers = Answers(refused)

    def look(self, person: str, processor: str, everything: bool) -> Look:
        """What to do about one of them."""
        addresses = self.addresses[person]
        failed = (self.failed[address] for address in sorted(addresses) if address in self.failed)
        error = self.errors.get(person) or next(failed, None)
        if error is not None:
            return Look(person, addresses, error=error)
        keys = [key for address in addresses for key in self.keys.get(address, ())]
        wanted = {key: self.together[key] for key in keys if key in self.together}
        told = {key: self.told[key] for key in keys if key in self.told}
        outcome = compare.compare(wanted, told, self.answers, processor, everything)
        refused = {key: self.answers.refused[key] for key in wanted if key in self.answers.refused}
        return Look(person, addresses, outcome.send, refused, told, self.people, self.waits if outcome.waits else None)


def _profile_known(wanted: Wanted, told: Told | None) -> bool:
    """Then it does not matter whether it may be given: it is not taken away."""
    return wanted.verb == "upsert_profile" and told is not None and told.value == wanted.text


def _next(left: Iterable[T], do: Callable[[T], None]) -> bool:
    for item in left:
        do(item)
        return False
    return True
