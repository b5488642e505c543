"""Look: what a sync has to do about somebody; and a page of those who are looked at together."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field

from stream.core import compare
from stream.core.compare import Answers, Key, Wanted
from stream.errors import NotYet, Skip
from stream.person import Person
from stream.sight import Shared
from stream.store.confirmed import Told

Asking = tuple[Key, str, str]
"""About what the gate is asked: address and thing, person, purpose."""

Reasons = Mapping[Asking, str | None] | NotYet
"""What it answers: why not, or None."""


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


class Page(Struct):
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

    @property
    def every_address(self) -> set[str]:
        """Of those who are looked at."""
        return set[str]().union(*(self.addresses[key] for key in self.looked))

    def keep(self, looked: list[str]) -> None:
        """Looks at these alone, as if the others were not there."""
        self.looked, these = looked, set(looked)
        self.wanted = [one for one in self.wanted if one.person in these]

    def join(self, owners: Mapping[str, str], shared: Shared, addresses: Collection[str]) -> None:
        """Takes together what all who share these addresses want of them."""
        self.together = compare.together(one for one in self.wanted if one.address in addresses)
        self.told = {(one.address, one.thing): one for one in shared.told}
        self.keys, self.failed = {}, {}
        for key in self.together.keys() | self.told.keys():
            self.keys.setdefault(key[0], []).append(key)
        if self.errors:  # what somebody wants is not known: nothing of what they share may be touched
            for address, subjects in shared.subjects.items():
                for error in (self.errors[owners[s]] for s in subjects if owners[s] in self.errors):
                    self.failed[address] = error

    def asking(self, everything: bool) -> dict[Asking, Wanted]:
        """All that gives, known or not: what is refused is taken away again."""
        return {
            (key, one.person, one.purpose): one
            for key, those in self.together.items()
            if those[0].gives and (everything or not _profile_known(those[0], self.told.get(key)))
            for one in those
            if one.gives
        }

    def answer(self, asked: Iterable[Asking], reasons: Reasons) -> None:
        """What the gate says of it. Of several who want the same, those count who may be given it; what nobody may be
        given is refused."""
        if isinstance(reasons, NotYet):
            self.waits, self.answers = reasons, Answers({}, asked=False)
        else:
            self._refuse({one: reason for one in asked if (reason := reasons[one]) is not None})

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

    def _refuse(self, reasons: Mapping[Asking, str]) -> None:
        refused: dict[Key, str] = {}
        for (key, *_), reason in reasons.items():
            refused.setdefault(key, reason)
        for key in list(refused):
            left = [one for one in self.together[key] if (key, one.person, one.purpose) not in reasons]
            if any(one.gives for one in left):
                self.together[key] = left
                del refused[key]
        self.answers = Answers(refused)


def _profile_known(wanted: Wanted, told: Told | None) -> bool:
    """Then it does not matter whether it may be given: it is not taken away."""
    return wanted.verb == "upsert_profile" and told is not None and told.value == wanted.text
