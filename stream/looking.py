"""Looking: what a sync wants of some people, now, and how that differs from what its destination was told.

One person or a page of a thousand are read with the same few statements: their facts, and what was told on their
behalf; then who shares their addresses, and what was told about these. Of those who are alone there is nothing else to
read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from msgspec import Struct

from stream.batch import Surroundings
from stream.connector import can
from stream.core import compare
from stream.core.compare import Wanted
from stream.errors import Dead, NotYet
from stream.gate import Question
from stream.look import Asking, Look, Page, Reasons
from stream.person import Person
from stream.processor import Sync, Want
from stream.reads import Reads
from stream.sight import NOBODY, Addressed, Seeing, Shared, Sight
from stream.store.alone import Alone
from stream.store.graph import Component

__all__ = ["Apart", "Asked", "Look", "Looking"]

T = TypeVar("T")
Refusals = Callable[[Sequence[Question]], Awaitable[list[str | None]]]

_FEW = 8  # people: less than a turn


class Asked(Protocol):
    """What is asked of the gate."""

    async def refusals(self, questions: Sequence[Question]) -> list[str | None]: ...
    async def of_alone(self, questions: Sequence[Question], people: Mapping[str, Person]) -> list[str | None]: ...


class Apart(Struct, frozen=True):
    """The subjects of a stretch who are alone (store/alone.py), and a look at each of them who has changed, as they
    were at one moment; but for those who name an address that nobody is known by."""

    alone: Mapping[str, Alone]
    unchanged: Collection[str]
    looks: Sequence[Look]


class Looking:
    """Looks at people for one sync. Sends nothing, writes nothing."""

    def __init__(
        self,
        sync: Sync,
        around: Surroundings,
        gate: Asked,
        spaces: Collection[str] = ("",),
        reads: Reads | None = None,
    ) -> None:
        """`reads`: the gate's, so that what is asked at the same time is read together."""
        self._sync = sync
        self._around = around
        self._gate = gate
        self._seeing = Seeing(around.store, sync.connector.name, spaces)
        reads = reads or Reads(around.store)
        self._people = reads.kind(self._seeing.each_people, len)
        self._shared = reads.kind(self._seeing.each_shared, lambda one: len(one.addresses))

    async def at(self, subject: str, everything: bool = False) -> Look:
        """A look at this subject's person. `everything`: what is wanted is to be sent even where it is known to be
        so."""
        (look,) = await self._looks([subject], everything, lambda component: True)
        return look

    async def page(self, subjects: Collection[str], everything: bool = False) -> list[Look]:
        """A look at each of the people whose first subject is among these: over pages of all subjects, one at each."""
        among = set(subjects)
        return await self._looks(subjects, everything, lambda component: component.subjects[0] in among)

    async def apart(self, between: tuple[str, str], known: Callable[[int], bool]) -> Apart:
        """Of the subjects after the first and up to the second one, those who are alone. Who has not changed is not
        looked at: whose stamp is `known`."""
        alone, sight = await self._around.store.db.reading(partial(self._seeing.alone, between=between, known=known))
        page = await self._opened(sight, sight.keys)
        page.keep([key for key in page.looked if page.addresses[key] <= set(alone[key].addresses)])
        page.join(sight.keys, Shared(sight.told, {}, NOBODY), page.every_address)
        asked = page.asking(False)
        page.answer(asked, await self._reasons(asked, partial(self._gate.of_alone, people=page.people)))
        return Apart(alone, alone.keys() - sight.keys.keys(), await self._compared(page, False))

    async def _looks(
        self, subjects: Collection[str], everything: bool, chosen: Callable[[Component], bool]
    ) -> list[Look]:
        sight = await self._people.ask(subjects)
        page = await self._opened(sight, {one.key for one in sight.snapshot.components.values() if chosen(one)})
        addresses, wanted = page.every_address, {one.address for one in page.wanted}
        page.join(sight.keys, Shared(sight.told, {}, NOBODY), addresses)  # as if nobody else shared them
        shared, reasons = await asyncio.gather(
            self._shared.ask(Addressed(addresses, wanted & addresses, sight.keys)),
            self._reasons(page.asking(everything), self._gate.refusals),
        )
        await self._each(sorted(set(shared.others.keys.values())), lambda key: self._open(page, shared.others, key))
        page.join({**shared.others.keys, **sight.keys}, shared, addresses)
        asked = page.asking(everything)
        if isinstance(reasons, NotYet) or not asked.keys() <= reasons.keys():
            reasons = await self._reasons(asked, self._gate.refusals)
        page.answer(asked, reasons)
        return await self._compared(page, everything)

    async def _opened(self, sight: Sight, looked: Iterable[str]) -> Page:
        page = Page(sorted(looked))
        await self._each(sorted(set(sight.keys.values())), lambda key: self._open(page, sight, key))
        for one in sight.told:
            page.addresses[sight.keys[one.subject]].add(one.address)
        return page

    async def _compared(self, page: Page, everything: bool) -> list[Look]:
        looks: list[Look] = []
        await self._each(page.looked, lambda key: looks.append(page.look(key, self._sync.name, everything)))
        return looks

    def _open(self, page: Page, sight: Sight, key: str) -> None:
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

    async def _reasons(self, asked: Mapping[Asking, Wanted], refusals: Refusals) -> Reasons:
        """Asks the gate about all of it, at once."""
        if not asked:
            return {}
        destination = self._sync.connector.name
        questions = [Question(destination, one.person, one.purpose, one.address) for one in asked.values()]
        try:
            return dict(zip(asked, await refusals(questions), strict=True))
        except NotYet as error:
            return error

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


def _next(left: Iterable[T], do: Callable[[T], None]) -> bool:
    for item in left:
        do(item)
        return False
    return True
