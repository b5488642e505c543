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
from stream.store import Mark
from stream.store.confirmed import Key, Told
from stream.store.database import Transaction

T = TypeVar("T")

DOUBT = "doubt"
"""The facet of a person about whom nobody can tell what the destination holds."""

_POLL_S = 1.0  # another's lease usually ends long before its time


class Ended(Struct):
    """What came of a lease. `values`: what was sent, as JSON (None: unclear); `unsent`: of which nothing was sent;
    `settled`: deletions that are over, with their outcome."""

    values: dict[compare.Key, str | None] = field(default_factory=dict)
    unsent: list[compare.Key] = field(default_factory=list)
    settled: dict[compare.Key, str] = field(default_factory=dict)


class Leases:
    """The leases of one member of a sync. `timeout_s`: of a request to its destination."""

    def __init__(self, processor: str, destination: str, around: Surroundings, commits: Commits) -> None:
        self.processor = processor
        self.destination = destination
        self.around = around
        self.commits = commits
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
        if self._deletes:  # whoever is still giving them something must be done first, or it would come back
            there = await confirmed.about(tx, self._leases.destination, (), self._deletes)
            ends = max((row.until or 0.0 for row in there if row.lease not in (None, self._token)), default=now)
            if ends > now:
                raise NotYet("leased", after=min(ends - now, _POLL_S))
        return await confirmed.take(tx, list(self._rows.values()), self._token, now, until)

    async def _extend(self, tx: Transaction, keys: Collection[Key], until: float) -> bool:
        return await self._leases.around.store.confirmed.extend(tx, self._token, keys, until)

    async def _end(self, tx: Transaction, ended: Ended, now: float) -> Sequence[Mark]:
        store = self._leases.around.store
        values = {self._rows[key].key: value for key, value in ended.values.items()}
        back = {self._rows[key].key: self._before[key] for key in ended.unsent}
        lost = await store.confirmed.confirm(tx, self._token, values, now)
        lost |= await store.confirmed.put_back(tx, self._token, back)
        marked = set[tuple[str, str]]()
        for key, outcome in ended.settled.items():
            if self._rows[key].key not in lost:
                found = await store.deletions.settled(tx, self._leases.destination, [key[0]], outcome, now)
                marked |= {(subject, "deletion") for subject in found}
        doubtful = [row for row in self._rows.values() if row.key in lost and row.key in values]
        if doubtful:
            await store.confirmed.doubt(tx, doubtful)
            marked |= {(row.subject, DOUBT) for row in doubtful}
        return await store.marks.add(tx, self._leases.processor, sorted(marked))

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


def length_s(timeout_s: float) -> float:
    """Of a lease: enough to wait for a turn, and for the answer. Where the turn comes later, it is prolonged."""
    return 2 * timeout_s + 1.0
