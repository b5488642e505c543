"""Syncing: makes a destination match what is known of people (design §5, §8). An actor over person.changed.

A look: the person now, with those who share the addresses; what is wanted, compared with what was told and what is
allowed. If something differs: a lease on it, and its rows unknown; what takes away is sent first, then what gives; what
was sent is written down; and another look, since others may have changed it all meanwhile. Only a look that finds
nothing to do ends a delivery as applied.
"""

from collections.abc import Collection, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from stream import topics
from stream.batch import Surroundings
from stream.commits import Commits
from stream.config import LaneConfig
from stream.connector import Change, can
from stream.core.compare import Key, Wanted
from stream.core.unclear import ANYTHING, Unclear
from stream.errors import Dead, NotYet, Retry, Skip
from stream.gate import Question
from stream.gathering import Gathering, Piece
from stream.http import Performer
from stream.lease import DOUBT, Ended, Lease, Leases, length_s
from stream.looking import Asked, Look, Looking
from stream.message import Delivery, Message, Partition
from stream.outage import outlast
from stream.processor import Sync
from stream.publisher import Changed, Publisher
from stream.store.receipts import UNSUPPORTED

WALK, EVERYTHING = "walk", "everything"
"""Facets of looks that nobody's change asked for: one of a walk; one that sends all that is wanted, known or not."""

_ALWAYS = frozenset({"identity", "deletion", "consent", DOUBT, WALK, EVERYTHING})
_LOOKS = 3  # that find something to send; then others have a turn
_UNCLEAR_S = 2.0  # between two tries of what another value may still overtake
DELETED = "deleted"


class Means(Struct, frozen=True):
    """What a sync acts with. `timeout_s`: of a request to its destination; `spaces`: of all sources."""

    performer: Performer
    gate: Asked
    commits: Commits
    timeout_s: float
    spaces: Collection[str] = ("",)


class Syncing:
    """One member of one sync, as an actor."""

    joins = True
    topics = (topics.PERSON_CHANGED,)

    def __init__(self, sync: Sync, config: LaneConfig, around: Surroundings, means: Means) -> None:
        self.sync = sync
        self.config = config
        self.looking = Looking(sync, around, means.gate, means.spaces, means.commits.reads)
        self._around = around
        self._timeout_s = means.timeout_s
        self._gathering = Gathering(sync.connector, means.performer, means.gate)
        self._leases = Leases(sync.name, sync.connector.name, around, means.commits, means.spaces)
        self._publisher = Publisher(sync.name, around, False)
        self._unclear = Unclear()

    @property
    def name(self) -> str:
        return self.sync.name

    def lane(self, delivery: Delivery) -> str:
        """Of the person."""
        return delivery.message.key.decode("utf-8", "replace")

    def skips(self, delivery: Delivery) -> str | None:
        """A change of what the sync does not look at. Told apart here: of looks that are joined one alone is held, and
        that must not be one that is left out."""
        try:
            facets = _facets(delivery)
        except msgspec.DecodeError:  # act() meets it, too, and it is held
            return None
        looked_at = _ALWAYS.union(self.sync.facets)
        return "skipped:facet" if self.sync.facets and not looked_at.intersection(facets) else None

    def about(self, delivery: Delivery) -> tuple[str, float]:
        """A look is younger than what it is a look at."""
        return self.lane(delivery), delivery.time

    async def recover(self) -> None:
        """Publishes whom the last process doubted and did not get to publish."""
        await self._publisher.recover()

    async def act(self, deliveries: Sequence[Delivery], slow: bool) -> bool:
        """One look for all of these, and whatever it takes until nothing differs. True if something was sent."""
        everything = any(EVERYTHING in _facets(delivery) for delivery in deliveries)
        person, asked = self.lane(deliveries[-1]), False
        for _ in range(_LOOKS):
            look = await outlast(partial(self.looking.at, person, everything), self.name)
            if look.error is not None:
                raise look.error
            for reason in look.refused.values():
                self._around.metrics.gate_refusals.labels(self.name, reason).inc()
            if not look.send:
                if look.waits is not None:
                    raise look.waits
                return asked
            await self._make_so(look, slow)
            asked, everything = True, False
        raise NotYet("changing", after=0.1)

    async def _make_so(self, look: Look, slow: bool) -> None:
        """Sends what differs, and writes down what came of it. Raises the worst of what failed."""
        lease = await self._leases.take(look, self._timeout_s)
        self._learn(look)
        pieces = {one.key: self._piece(look, one, lease, slow) for one in look.send if one.key not in lease.taken_over}
        for piece in pieces.values():  # one after another: at each destination one of a person at a time
            if can(self.sync.connector, piece.verb):
                await self._gathering.send(piece)
        errors = [piece.error for piece in pieces.values() if piece.error is not None]
        ended = Ended({key: None for key in lease.taken_over})
        ended.late = dict.fromkeys(lease.taken_over, self._around.clock() + lease.length_s)
        if lease.taken_over:  # what was sent under the lease that ran out may still arrive
            errors.append(NotYet("lease_taken_over", after=lease.length_s))
        for key, piece in pieces.items():
            errors += self._note(key, piece, ended)
        await self._publisher.publish(await lease.end(ended))
        if errors:
            raise max(errors, key=_severity)

    def _learn(self, look: Look) -> None:
        """What others sent of this, or this processor before it was started again, and what may still arrive."""
        now = self._around.clock()
        for one in look.send:
            was = look.told.get(one.key)
            late = None if was is None else was.late
            if late is not None and late > max(now, self._unclear.until(one.key) or 0.0):
                self._unclear.note(one.key, ANYTHING, late, now)

    def _piece(self, look: Look, one: Wanted, lease: Lease, slow: bool) -> Piece:
        change = Change(one.address, one.thing, one.value, look.people.get(one.person))
        question = None
        if one.gives:
            question = Question(self.sync.connector.name, one.person, one.purpose, one.address)
        return Piece(one.verb, one.text, change, lease, question, slow)

    def _note(self, key: Key, piece: Piece, ended: Ended) -> list[Exception]:
        """What is known of a thing once its piece has ended."""
        now, until = self._around.clock(), self._around.clock() + length_s(self._timeout_s)
        deletes = piece.verb == "delete_person"
        if not piece.sent:
            if deletes and piece.error is None:
                ended.settled[key] = UNSUPPORTED
            ended.unsent.append(key)
            return []
        ended.values[key] = None
        if _may_arrive(piece.error):
            self._unclear.note(key, piece.text, until, now)
        if (late := self._unclear.until(key)) is not None and late > now:
            ended.late[key] = late
        if not piece.done:
            return []
        # A deletion, even the same, must not be carried out after whatever is told anew.
        if wait := self._unclear.wait(key, DELETED if deletes else piece.text, now):
            return [NotYet("unclear", after=min(wait, _UNCLEAR_S))]
        ended.values[key] = piece.text
        if deletes:
            ended.settled[key] = DELETED
        return []


def look_of(person: str, now: float, everything: bool = False) -> Delivery:
    """A look at a person that is not of the log."""
    value = msgspec.json.encode(Changed(person, [EVERYTHING if everything else WALK], 0))
    message = Message(topics.PERSON_CHANGED, person.encode(), value)
    return Delivery(message, Partition(topics.PERSON_CHANGED, -1), -1, now)


def _facets(delivery: Delivery) -> Sequence[str]:
    return _CHANGED.decode(delivery.message.value or b"").facets


def _may_arrive(error: Exception | None) -> bool:
    """May what was sent still be carried out, though this came of it?"""
    if not isinstance(error, Retry):
        return False
    return error.reason in _LATE or not (error.reason.startswith("http_") or error.outage)


def _severity(error: Exception) -> tuple[int, float]:
    """What is tried again goes before what dies: once the rest is done, it dies all the same."""
    match error:
        case NotYet():
            return 3, error.after or 0.0
        case Retry():
            return 4, error.after or 0.0
        case Skip():
            return 0, 0.0
        case Dead():
            return 1, 0.0
    return 2, 0.0  # a bug


_LATE = ("http_408", "http_502", "http_504")  # of somebody between us and the destination
_CHANGED = msgspec.json.Decoder(Changed)
