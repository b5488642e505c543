"""Reactor: acts once per event. What a runner runs for each Reactor.

Each `app.http.run` is a send. Once it was really made, that is remembered, by hashes, durably before the lane goes on:
a message that comes again, or that failed at a later send, is not sent twice. A crash between a destination's answer
and that commit repeats the send.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from math import inf
from typing import Any, Protocol, TypeVar

from msgspec import Struct, structs

from stream import events, facts, topics
from stream.batch import Surroundings
from stream.commits import Commits, Together
from stream.config import LaneConfig
from stream.connector import Flow, Request, Response
from stream.errors import Refused, Skip
from stream.events import Event
from stream.gate import Question
from stream.handling import about
from stream.http import Performer
from stream.message import Delivery
from stream.outage import outlast
from stream.processor import Reactor
from stream.purpose import INTERNAL
from stream.sending import delivering
from stream.store.database import Transaction

T = TypeVar("T")


class Asked(Protocol):
    """What is asked before anything is given (stream/gate.py)."""

    async def ask(self, question: Question) -> None: ...


class Outside(Struct, frozen=True):
    """What a reactor sends with. `dry`: in a dry run, hears of each send whether it was made before; it is made again
    all the same, and nothing is remembered."""

    performer: Performer
    gate: Asked
    commits: Commits
    dry: Callable[[bool], None] | None = None


class Reacting:
    """One member of one reactor, as an actor."""

    joins = False

    def __init__(self, reactor: Reactor, config: LaneConfig, around: Surroundings, outside: Outside) -> None:
        self.reactor = reactor
        self.name = reactor.name
        self.config = config
        self.topics = tuple(topics.RAW[kind] for kind in reactor.topics)
        self._memory = _Memory(reactor.name, around, outside)
        self._outside = outside

    def lane(self, delivery: Delivery) -> str:
        """The message's key: whom the event names."""
        return delivery.message.key.decode("utf-8", "replace")

    def about(self, delivery: Delivery) -> tuple[str, float]:
        """The event's subject and time."""
        return about(delivery, events.decode(delivery.message, delivery.time))

    async def act(self, deliveries: Sequence[Delivery], slow: bool) -> bool:
        """Has one event handled. Raises what handle() raises."""
        (delivery,) = deliveries
        event = events.decode(delivery.message, delivery.time)
        sends = _Sends(event, self.config.max_age_s or inf, self._memory, self._outside)
        with delivering(sends):
            await self.reactor.handle(event)
        return sends.asked


class _Memory:
    """What one reactor has sent, in the store."""

    def __init__(self, processor: str, around: Surroundings, outside: Outside) -> None:
        self._processor = processor
        self._sends = around.store.sends
        self._clock = around.clock
        self._commits = outside.commits
        self._dry = outside.dry
        self._refusals = around.metrics.gate_refusals
        self._asked = Together(self._among)
        self._sent = Together(self._add)

    def hash(self, event: Event, subject: str, number: int) -> str:
        return self._sends.hash(self._processor, event.message_id, subject, number)

    def refused(self, reason: str) -> None:
        """The gate refused a send."""
        self._refusals.labels(self._processor, reason).inc()

    async def has(self, hashed: str) -> bool:
        """Was it sent before?"""
        sent = await self._asked.ask(hashed)
        if self._dry is None:
            return sent
        self._dry(sent)
        return False

    async def add(self, hashed: str) -> None:
        """It was sent; durable on return."""
        if self._dry is None:
            await self._sent.ask(hashed)

    async def name(self, question: Question) -> bool:
        """Its destination may know this address from now on; durable on return. False: that was noted before."""
        named = (question.destination, question.address, question.subject)

        async def read(tx: Transaction) -> bool:
            return await self._sends.named(tx, *named)

        async def write(tx: Transaction) -> None:
            await self._sends.name(tx, *named, processor=self._processor)

        if self._dry is not None or await outlast(partial(self._commits.read, read), self._processor):
            return False
        await outlast(partial(self._commits.write, write), self._processor)
        return True

    async def _among(self, hashes: Sequence[str]) -> list[bool]:
        read = partial(self._sends.among, hashes=hashes)
        sent = await outlast(partial(self._commits.read, read), self._processor)
        return [hashed in sent for hashed in hashes]

    async def _add(self, hashes: Sequence[str]) -> Sequence[None]:
        write = partial(self._sends.add, hashes=hashes, now=self._clock())
        await outlast(partial(self._commits.write, write), self._processor)
        return [None] * len(hashes)


class _Sends:
    """What stands behind app.http during one try of one event."""

    def __init__(self, event: Event, max_age_s: float, memory: _Memory, outside: Outside) -> None:
        self.asked = False
        """Has any request gone out?"""
        self._event = event
        self._max_age_s = max_age_s
        self._memory = memory
        self._outside = outside
        self._calls = 0

    async def run(self, flow: Flow[Any], about: str, purpose: str, gives: bool, address: str) -> Any:
        event = self._event
        if event.received - event.time > self._max_age_s:  # here, and not before handle(): most events send nothing
            flow.close()
            raise Skip("too_old")
        self._calls += 1
        hashed = self._memory.hash(event, about, self._calls)
        if await self._memory.has(hashed):
            flow.close()
            return None
        # The destination is known once the flow yields its first request.
        consent = None if purpose == INTERNAL else _said(event, about)  # that one needs none
        asks = Question("", about, purpose, address, event.time, consent)
        send = _Send(asks, gives, self._memory, self._outside.gate)
        try:
            found = await self._outside.performer.perform(send.watched(flow), send.allow, gives)
        finally:
            self.asked = self.asked or send.went_out
        if send.went_out:
            await self._memory.add(hashed)
        return found

    async def read(self, flow: Flow[Any]) -> Any:
        self.asked = True
        return await self._outside.performer.perform(flow, _allowed, gives=False)


def _said(event: Event, about: str) -> dict[str, bool] | None:
    """What the event itself says of consent. It speaks for whom it names, and for nobody else."""
    return facts.preferences(event) if about in (event.subject, event.user, event.anonymous) else None


class _Send:
    """One flow on its way."""

    def __init__(self, asks: Question, gives: bool, memory: _Memory, gate: Asked) -> None:
        self.went_out = False
        self._asks = asks
        self._gives = gives
        self._memory = memory
        self._gate = gate
        self._destination = ""

    async def allow(self) -> None:
        """Right before the bytes of each request: is it still allowed?"""
        question = structs.replace(self._asks, destination=self._destination)
        if self._gives:
            await self._ask(question)
        if question.address and await self._memory.name(question) and self._gives:
            await self._ask(question)  # that took a while
        self.went_out = True

    async def _ask(self, question: Question) -> None:
        try:
            await self._gate.ask(question)
        except Skip as refusal:
            self._memory.refused(refusal.reason)
            raise

    def watched(self, flow: Flow[T]) -> Generator[Request, Response, T]:
        """The flow, and where each of its requests goes."""
        try:
            request = next(flow)
            while True:
                self._destination = request.destination
                try:
                    response = yield request
                except Refused as refused:
                    request = flow.throw(refused)
                else:
                    request = flow.send(response)
        except StopIteration as end:
            found: T = end.value
            return found
        finally:
            flow.close()


async def _allowed() -> None:
    """What only reads is asked nothing."""
