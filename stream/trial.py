"""Trial: what a reactor or a sync would do about what lies in the log. Nothing is sent, nothing is written.

The same code runs as live; only that requests are shown instead of made, and answered 200 with an empty JSON object
(those that only read are made). The gate is asked as of the moment up to which the store knows what people allow.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from msgspec import Struct, field, structs

from stream import topics
from stream.batch import Surroundings
from stream.building import Built
from stream.commits import Commits
from stream.config import Config
from stream.connector import Change, Flow, Request, can
from stream.core.compare import Wanted
from stream.errors import Dead, Retry, Skip
from stream.gate import Gate
from stream.handling import trace_of
from stream.http import Client, Performer, Recorder, Shown
from stream.looking import Look, Looking
from stream.message import Delivery
from stream.processor import Reactor, Sync
from stream.purpose import ASKED
from stream.reactor import Outside, Reacting
from stream.store import Store

SENDS, SENT, NOTHING = "would send", "sent already", "nothing to do"


class Span(Struct, frozen=True):
    """What the log took from `since` on and before `until`."""

    since: float
    until: float | None = None


class Sent(Struct, frozen=True):
    """One request that would go out. `before`: this very send was made before, so that live it is not made again."""

    request: Shown
    before: bool = False


class Tried(Struct):
    """What would be done about one delivery; or by a sync about one person, whose last change it is. `outcome`: SENDS,
    SENT (all of it), NOTHING, or how it would end: skipped:REASON, retry:REASON, dead:REASON. `refused`: what a sync
    would give, address and thing, and may not, and why. `trace`: of a bug."""

    delivery: Delivery
    subject: str
    outcome: str = NOTHING
    sends: list[Sent] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    trace: str = ""


class Trial:
    """Tries syncs and reactors on the history in `around.log`."""

    @classmethod
    @asynccontextmanager
    async def open(cls, built: Built, config: Config, around: Surroundings) -> AsyncIterator["Trial"]:
        """Opens the destinations, for what only reads. Raises ConfigError."""
        at = await known_until(around.store, around.clock())
        async with Client.open(built.limits, around.clock, around.metrics) as client:
            yield cls(built, config, structs.replace(around, clock=lambda: at), client)

    def __init__(self, built: Built, config: Config, around: Surroundings, reads: Performer) -> None:
        self.time = around.clock()
        """As of when the gate answers."""
        self._built = built
        self._around = around
        self._reads = reads
        self._gate = Gate(around, config)
        self._spaces = {"", *(source.space for source in config.sources.values())}

    async def reactor(self, reactor: Reactor, span: Span) -> AsyncGenerator[Tried, None]:
        """Every delivery of its topics, in the order in which they were taken."""
        before = False
        sends: list[Sent] = []

        def hear(sent: bool) -> None:
            nonlocal before
            before = sent

        recorder = Recorder(lambda shown: sends.append(Sent(shown, before)), self._reads)
        outside = Outside(recorder, self._gate, Commits(self._around.store), hear)
        actor = Reacting(reactor, self._built.lanes[reactor.name], self._around, outside)
        async with aclosing(self._history(actor.topics, span)) as deliveries:
            async for delivery in deliveries:
                sends = []
                tried = Tried(delivery, actor.about(delivery)[0], sends=sends)
                try:
                    await actor.act([delivery], False)
                    tried.outcome = _outcome(sends)
                except Exception as error:
                    _fail(tried, error)
                yield tried

    async def sync(self, sync: Sync, span: Span) -> AsyncGenerator[Tried, None]:
        """Everybody who changed then, as they are now, each once."""
        looking = Looking(sync, self._around, self._gate, self._spaces)
        seen = set[str]()
        async with aclosing(self._history((topics.PERSON_CHANGED,), span)) as deliveries:
            async for delivery in deliveries:
                subject = delivery.message.key.decode("utf-8", "replace")
                if subject in seen:
                    continue
                look = await looking.at(subject)
                if look.person not in seen:
                    yield await self._looked(sync, delivery, look)
                seen |= {subject, look.person}

    async def _looked(self, sync: Sync, delivery: Delivery, look: Look) -> Tried:
        tried = Tried(delivery, look.person, refused={" ".join(key): why for key, why in look.refused.items()})
        try:
            for one in look.send:
                tried.sends += [Sent(shown) for shown in await requests(sync, look, one, self._reads)]
            if error := look.error or look.waits:
                raise error
            tried.outcome = _outcome(tried.sends)
        except Exception as error:
            _fail(tried, error)
        return tried

    async def _history(self, names: tuple[str, ...], span: Span) -> AsyncGenerator[Delivery, None]:
        """What several topics hold, in the order in which it was taken."""
        left = {name: aiter(self._around.log.read(name, span.since, span.until)) for name in names}
        heads = {name: await anext(read, None) for name, read in left.items()}
        while there := {name: head for name, head in heads.items() if head is not None}:
            first = min(there, key=lambda name: there[name].time)
            yield there[first]
            heads[first] = await anext(left[first], None)


async def known_until(store: Store, now: float) -> float:
    """Up to when the store knows what people allow; `now`, where it never knew. As of then the gate answers although
    nothing runs."""
    standing = await store.db.reading(store.positions.standing)
    return min((until for name in ASKED if (until := standing.get(name)) is not None), default=now)


async def requests(sync: Sync, look: Look, one: Wanted, reads: Performer | None = None) -> list[Shown]:
    """What sending one thing of a look would ask of the destination; live, one request may carry several. `reads` makes
    those that only read."""
    shown: list[Shown] = []
    if can(sync.connector, one.verb):
        change = Change(one.address, one.thing, one.value, look.people.get(one.person))
        flow: Flow[object] = getattr(sync.connector, one.verb)([change])
        await Recorder(shown.append, reads).perform(flow, _allowed, one.gives)
    return shown


def _outcome(sends: list[Sent]) -> str:
    if not sends:
        return NOTHING
    return SENT if all(one.before for one in sends) else SENDS


def _fail(tried: Tried, error: Exception) -> None:
    match error:
        case Skip():
            tried.outcome = f"skipped:{error.reason}"
        case Retry():
            tried.outcome = f"retry:{error.reason}"
        case Dead():
            tried.outcome = f"dead:{error.reason}"
        case _:
            tried.outcome, tried.trace = f"dead:bug:{type(error).__name__}", trace_of(error)


async def _allowed(_: Request) -> None:
    """A look has asked the gate already."""
