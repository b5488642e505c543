"""Publisher: nothing is published that is not durable, and nothing durable stays unpublished.

A mark is written in the transaction of what changed. After it: read the marked people as they now are, append, read
again, mark again whoever changed meanwhile, clear. A crash in between repeats messages and forgets none. Messages of
one person may come out of the order of their revisions; the last one has the newest state, and so has the one with the
highest revision.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import msgspec
import structlog
from msgspec import Struct

from stream import facts, topics
from stream.batch import Surroundings
from stream.errors import TooLarge
from stream.message import Message
from stream.outage import outlast
from stream.person import Person
from stream.snapshot import Snapshot, read, read_in
from stream.store.database import Transaction
from stream.store.marks import Mark

logger = structlog.get_logger()

_LEFT = 100_000  # marks, some 15 MB: more than all members of a busy processor have open at once


class Changed(Struct, frozen=True):
    """The value of a person.changed message: look at this person again."""

    person: str
    facets: list[str]
    revision: int


class Published(Struct, frozen=True):
    """The value of a person.profile message: the whole person, as of a revision."""

    revision: int
    person: Person | None


class Publisher:
    """Publishes what one processor marked."""

    def __init__(self, processor: str, around: Surroundings, profile: bool) -> None:
        self._processor = processor
        self._around = around
        self._profile = profile
        self._tables = tuple(facts.TABLES) if profile else ()
        # A whole person takes some 50 µs to put together: this many are a few milliseconds of the loop.
        self._at_once = 100 if profile else 5_000

    async def recover(self) -> None:
        """Publishes what is marked now: the last process may have left it. What others mark meanwhile, they publish."""
        open_marks = partial(self._around.store.marks.open, self._processor, _LEFT)
        more = True
        while more:
            marks = await outlast(open_marks, self._processor)
            await self.publish(marks, recovering=True)
            more = len(marks) == _LEFT

    async def publish(self, marks: Sequence[Mark], recovering: bool = False) -> None:
        """Publishes these marks, and whatever changes meanwhile, until nothing of it is marked."""
        waiting = list(marks)
        while waiting:
            some, waiting = waiting[: self._at_once], waiting[self._at_once :]
            waiting += await outlast(partial(self._once, some, recovering), self._processor)

    async def _once(self, marks: Sequence[Mark], recovering: bool) -> Sequence[Mark]:
        """Publishes these marks once; those that must be published again, since somebody changed meanwhile."""
        store, log = self._around.store, self._around.log
        subjects = {mark.subject for mark in marks}
        before = await read(store, subjects, self._tables)
        messages, values, nulled = await self._messages(marks, before, recovering)
        marks = [*marks, *await self._mark(nulled.union(values), marks, before)]
        try:
            await log.append(messages)
        except TooLarge as error:
            _say(error)
        for message in messages:
            self._around.metrics.published.labels(message.topic).inc()
        appended = _Appended(marks, before, values, nulled)
        return await store.db.writing(partial(self._settle, appended), durable=False, beside=True)

    async def _mark(self, keys: Collection[str], marks: Sequence[Mark], people: Snapshot) -> Sequence[Mark]:
        """Marks the keys that are not marked themselves. One may be somebody else's by the time it is appended: then it
        is looked at again, too, even after a crash."""
        unmarked = set(keys).difference(mark.subject for mark in marks)
        wanted = [(s, m.facet) for m in marks for s in people.components[m.subject].subjects if s in unmarked]
        if not wanted:
            return []
        store = self._around.store
        return await store.db.writing(lambda tx: store.marks.add(tx, self._processor, wanted), beside=True)

    async def _settle(self, appended: "_Appended", tx: Transaction) -> Sequence[Mark]:
        """Reads again, marks again, clears. One transaction: whoever changes them later finds it noted which keys hold
        a value. Not durable: losing it repeats messages."""
        store, marks, before = self._around.store, appended.marks, appended.people
        if self._profile:  # whoever changes them meanwhile waits, and finds what is noted here
            await store.marks.lock(tx)
        after = await read_in(tx, store, {mark.subject for mark in marks}, self._tables)
        stale = [mark for mark in marks if before.of(mark.subject) != after.of(mark.subject)]
        again = await store.marks.add(tx, self._processor, [(mark.subject, mark.facet) for mark in stale])
        await store.marks.clear(tx, self._processor, marks, appended.values, appended.nulled)
        return again

    async def _messages(
        self, marks: Sequence[Mark], people: Snapshot, recovering: bool
    ) -> tuple[list[Message], dict[str, int], set[str]]:
        """The messages; which keys of person.profile they give a value, with its revision; and which a null."""
        changed: dict[str, Changed] = {}
        for mark in sorted(marks, key=lambda m: m.revision):
            key = people.components[mark.subject].key
            had = changed.get(key)
            facets = sorted({mark.facet, *(had.facets if had else ())})
            changed[key] = Changed(key, facets, mark.revision)
        messages = [_message(topics.PERSON_CHANGED, key, _encode(one)) for key, one in changed.items()]
        if not self._profile:
            return messages, {}, set()
        values = {key: one.revision for key, one in changed.items() if people.person(key) is not None}
        nulled = set(changed) - set(values) | await self._renamed(people, changed, recovering)
        for key, revision in values.items():
            value = _encode(Published(revision, people.person(key)))
            messages.append(_message(topics.PERSON_PROFILE, key, value))
        messages += [_message(topics.PERSON_PROFILE, key, None) for key in sorted(nulled)]
        return messages, values, nulled

    async def _renamed(self, people: Snapshot, changed: Mapping[str, Changed], recovering: bool) -> set[str]:
        """Keys that stood for a person of their own, and no longer do. Any subject may have been one, marked or not: of
        two people that become one, a link marks only the two subjects that it names."""
        gone = set(people.components).difference(changed)
        if recovering or not gone:
            return gone  # what was published before the crash may not have been noted
        marks = self._around.store.marks
        return await self._around.store.db.reading(lambda tx: marks.has_value(tx, gone))


class _Appended(Struct, frozen=True):
    """What was just appended: for which marks, of whom as they were read, with which keys' values and nulls."""

    marks: Sequence[Mark]
    people: Snapshot
    values: dict[str, int]
    nulled: set[str]


def _say(error: TooLarge) -> None:
    """Of a person.profile that the log refuses for its size: tried again, it would be refused again, for ever. The key
    keeps the value that it had."""
    for message in error.messages:
        size = len(message.value or b"")
        logger.error("publishing_refused", topic=message.topic, bytes=size, limit="kafka.max_message_bytes")


def _message(topic: str, key: str, value: bytes | None) -> Message:
    return Message(topic, key.encode(), value)


_encode = msgspec.json.Encoder().encode
