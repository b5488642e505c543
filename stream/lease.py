"""Lease: the right to send what one look found, from the moment its rows are unknown until it is known what came of it.

Whoever holds it sends alone. It ends by itself, so that a member that is gone blocks nobody; one that was frozen and
finds its lease lost has perhaps sent what is no longer wanted: it sets unknown what it sent, and marks the person.
"""

import secrets
from collections.abc import Collection, Sequence
from functools import partial
from itertools import count
from typing import TypeVar

from msgspec import Struct, field

from stream.batch import Surroundings
from stream.commits import Body, Commits
from stream.core import compare
from stream.core.compare import Wanted
from stream.errors import NotYet
from stream.looking import Look
from stream.outage import outlast
from stream.person import Person
from stream.sharing import known_by
from stream.store import Mark
from stream.store.confirmed import Key, Told
from stream.store.database import Transaction
from stream.store.obstacles import ANYWHERE

T = TypeVar("T")

DOUBT = "doubt"
"""The facet of a person about whom nobody can tell what the destination holds."""

_POLL_S = 1.0  # another's lease usually ends long before its time


class Ended(Struct):
    """What came of a lease. `values`: what was sent, as JSON (None: unclear); `late`: until when something that was
    sent may still be carried out; `unsent`: of which nothing was sent; `settled`: deletions that are over, with their
    outcome."""

    values: dict[compare.Key, str | None] = field(default_factory=dict)
    late: dict[compare.Key, float] = field(default_factory=dict)
    unsent: list[compare.Key] = field(default_factory=list)
    settled: dict[compare.Key, str] = field(default_factory=dict)


class Leases:
    """The leases of one member of a sync. `spaces`: of all sources."""

    def __init__(
        self, processor: str, destination: str, around: Surroundings, commits: Commits, spaces: Collection[str]
    ) -> None:
        self.processor = processor
        self.destination = destination
        self.around = around
        self.commits = commits
        self.spaces = spaces
        self._member = secrets.token_hex(8)
        self._number = count()

    async def take(self, look: Look, timeout_s: float) -> "Lease":
        """A lease on all that must be sent, unknown from now on. Raises NotYet where another one is sending."""
        lease = Lease(self, f"{self._member}-{next(self._number)}", look, timeout_s)
        await lease.take()
        return lease


class Lease:
    """On the rows of one look. `taken_over`: those that another one left, and may have sent."""

    def __init__(self, leases: Leases, token: str, look: Look, timeout_s: float) -> None:
        self.taken_over: set[compare.Key] = set()
        self.length_s = length_s(timeout_s)
        self._leases = leases
        self._token = token
        self._timeout_s = timeout_s
        self._rows = {one.key: self._row(one) for one in look.send}
        self._before = {one.key: look.told.get(one.key) for one in look.send}
        self._deletes = {one.address for one in look.send if one.verb == "delete_person"}
        self._nobodys = [one.key for one in look.send if _is_nobody(look.people.get(one.person))]
        self._until = float("-inf")

    async def take(self) -> None:
        """Takes all of it, or raises NotYet."""
        now = self._now()
        until = now + self.length_s
        taken = await self._written(lambda tx: self._take(tx, now, until))
        self._until = until
        self.taken_over = {key for key, row in self._rows.items() if row.key in taken}

    @property
    def lasts(self) -> bool:
        """Is more of it left than a request may take?"""
        return self._until - self._now() > self._timeout_s

    async def hold(self) -> bool:
        """It lasts; it is prolonged where that must be. False: it is lost."""
        while not self.lasts:
            until = self._now() + self.length_s
            keys = [row.key for row in self._rows.values()]
            if not await self._written(partial(self._extend, keys=keys, until=until)):
                return False
            self._until = until
        return True

    async def end(self, ended: Ended) -> Sequence[Mark]:
        """Writes what came of it. The marks it left: of whom others must look at again."""
        now = self._now()
        return await self._written(lambda tx: self._end(tx, ended, now))

    async def _take(self, tx: Transaction, now: float, until: float) -> set[Key]:
        confirmed = self._leases.around.store.confirmed
        await confirmed.lock(tx)  # nobody else takes what stands in the way of this one while it looks
        there = await confirmed.about(tx, self._leases.destination, (), {key[0] for key in self._rows})
        ends = max([self._in_the_way(row) for row in there if row.lease != self._token], default=now)
        if any(row.verb == "send_event" for row in there if row.address in self._deletes):  # of these no end is noted
            asked = await self._leases.around.store.deletions.asked(tx, self._leases.destination, self._deletes)
            ends = max(ends, asked + self.length_s)
        if ends > now:
            raise NotYet("leased", after=min(ends - now, _POLL_S))
        told = {(row.address, row.thing): row for row in there}
        # Told or deleted there since the look: what it found is over, and must not be put back, either.
        if any(told.get(key) != was for key, was in self._before.items()):
            raise NotYet("changing", after=0.0)
        return await confirmed.take(tx, list(self._rows.values()), self._token, now, until)

    def _in_the_way(self, row: Told) -> float:
        """Until when. What is on its way to those who are deleted must have arrived first, or it would come back; and
        nothing is sent to an address while it is deleted there: it would be made anew."""
        until = row.until or 0.0
        if row.verb == "delete_person":
            return until if row.lease is not None else 0.0
        if row.address not in self._deletes:
            return 0.0
        return until if row.lease is None else until + self.length_s  # under one that ran out, something may be late

    async def _extend(self, tx: Transaction, keys: Collection[Key], until: float) -> bool:
        return await self._leases.around.store.confirmed.extend(tx, self._token, keys, until)

    async def _end(self, tx: Transaction, ended: Ended, now: float) -> Sequence[Mark]:
        store = self._leases.around.store
        values = {self._rows[key].key: value for key, value in ended.values.items()}
        late = {self._rows[key].key: until for key, until in ended.late.items()}
        back = {self._rows[key].key: self._before[key] for key in ended.unsent}
        lost = await store.confirmed.confirm(tx, self._token, values, now, late)
        lost |= await store.confirmed.put_back(tx, self._token, back)
        marked = set[tuple[str, str]]()
        for key, outcome in ended.settled.items():
            if self._rows[key].key not in lost:
                found = await store.deletions.settled(tx, self._leases.destination, [key[0]], outcome, now)
                sharing = await known_by(tx, store, [key[0]], self._leases.spaces)
                marked |= {(subject, "deletion") for subject in found | sharing.subjects[key[0]]}
        taken = [key for key in self._nobodys if ended.values.get(key) and self._rows[key].key not in lost]
        await self._forget(tx, [self._rows[key] for key in taken])
        doubtful = [row for row in self._rows.values() if row.key in lost and row.key in values]
        if doubtful:
            await store.confirmed.doubt(tx, doubtful, max(late.values(), default=None))
            marked |= {(row.subject, DOUBT) for row in doubtful}
        return await store.marks.add(tx, self._leases.processor, sorted(marked))

    async def _forget(self, tx: Transaction, taken: Sequence[Told]) -> None:
        """Of whom nothing is left, and everything was taken away: their addresses must not stay behind, either. Where
        a deletion has begun, and has not noted its addresses yet, it needs these."""
        if not taken:
            return
        store = self._leases.around.store
        deleting = await store.obstacles.deleting(tx, {row.subject for row in taken})
        await store.confirmed.forget(tx, [r.key for r in taken if ANYWHERE not in deleting.get(r.subject, ())])

    def _row(self, one: Wanted) -> Told:
        leases = self._leases
        return Told(
            destination=leases.destination,
            address=one.address,
            thing=one.thing,
            verb=one.verb,
            processor=leases.processor,
            subject=one.person,
        )

    def _now(self) -> float:
        return self._leases.around.clock()

    async def _written(self, body: Body[T]) -> T:
        return await outlast(lambda: self._leases.commits.write(body), self._leases.processor)


def _is_nobody(person: Person | None) -> bool:
    """Is nothing left of them, but what a destination has still to delete?"""
    return person is None or person == Person(key=person.key, subjects=person.subjects, deletion=person.deletion)


def length_s(timeout_s: float) -> float:
    """Of a lease: enough to wait for a turn, and for the answer. Where the turn comes later, it is prolonged."""
    return 2 * timeout_s + 1.0
