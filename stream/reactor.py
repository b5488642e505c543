"""Reactor: acts once per event. What a runner runs for each Reactor.

Each `app.http.run` is a send. Once it was really made, that is remembered, by hashes, durably before the lane goes on:
a message that comes again, or that failed at a later send, is not sent twice. A crash between a destination's answer
and that commit repeats the send.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Protocol

from msgspec import Struct, structs

from stream import events, facts, topics
from stream.batch import Surroundings
from stream.commits import Commits
from stream.config import LaneConfig
from stream.connector import Flow, Request
from stream.errors import Skip, StreamError
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
from stream.together import Together

_Name = tuple[str, str, str]
"""Destination, address, subject."""


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

    def skips(self, delivery: Delivery) -> None:
        """It is for handle() to say."""

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
        self._asked = outside.commits.reads.kind(around.store.sends.among)
        self._names = outside.commits.reads.kind(self._named)
        self._sent = Together(self._add)

    def hash(self, event: Event, subject: str, number: int) -> str:
        return self._sends.hash(self._processor, event.message_id, subject, number)

    def refused(self, reason: str) -> None:
        """The gate refused a send."""
        self._refusals.labels(self._processor, reason).inc()

    def ask(self, hashed: str) -> "asyncio.Future[bool]":
        """Was it sent before? For `has`."""
        return self._asked.put(hashed)

    async def has(self, asked: "asyncio.Future[bool]") -> bool:
        """Was it? Raises StoreError."""
        sent = await asked
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
        name = (question.destination, question.address, question.subject)
        if self._dry is not None or await outlast(partial(self._names.ask, name), self._processor):
            return False
        write = partial(self._note, name=name)
        await outlast(partial(self._commits.write, write), self._processor)
        return True

    async def _named(self, tx: Transaction, names: Sequence[_Name]) -> list[bool]:
        return [await self._sends.named(tx, *name) for name in names]

    async def _note(self, tx: Transaction, name: _Name) -> None:
        await self._sends.name(tx, *name, processor=self._processor)

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
        # Its destination is known once the flow yields a request. What is internal asks for no consent.
        consent = None if purpose == INTERNAL else _said(event, about)
        question = Question("", about, purpose, address, event.time, consent)
        send = _Send(self._memory.hash(event, about, self._calls), question, gives, (self._memory, self._outside.gate))
        try:
            found = await self._outside.performer.perform(flow, send.allow, gives)
        except _Repeated:
            return None
        finally:
            self.asked = self.asked or send.went_out
        if send.went_out:
            await self._memory.add(send.hashed)
        return found

    async def read(self, flow: Flow[Any]) -> Any:
        self.asked = True
        return await self._outside.performer.perform(flow, _allowed, gives=False)


def _said(event: Event, about: str) -> dict[str, bool] | None:
    """What the event itself says of consent. It speaks for whom it names, and for nobody else."""
    return facts.preferences(event) if about in (event.subject, event.user, event.anonymous) else None


class _Send:
    """One flow on its way."""

    def __init__(self, hashed: str, question: Question, gives: bool, asked: "tuple[_Memory, Asked]") -> None:
        self.hashed = hashed
        self.went_out = False
        self._question = question
        self._gives = gives
        self._memory, self._gate = asked

    async def allow(self, request: Request) -> None:
        """Right before the bytes of each request: was it sent before, is it still allowed? One read tells both."""
        question = structs.replace(self._question, destination=request.destination)
        before = None if self.went_out else self._memory.ask(self.hashed)
        refusal = await self._refusal(question)
        if before is not None and await self._memory.has(before):
            raise _Repeated("it was sent before")
        self._obey(refusal)
        if question.address and await self._memory.name(question):
            self._obey(await self._refusal(question))  # that took a while
        self.went_out = True

    async def _refusal(self, question: Question) -> StreamError | None:
        if self._gives:
            try:
                await self._gate.ask(question)
            except StreamError as refusal:
                return refusal
        return None

    def _obey(self, refusal: StreamError | None) -> None:
        if isinstance(refusal, Skip):
            self._memory.refused(refusal.reason)
        if refusal is not None:
            raise refusal


class _Repeated(StreamError):
    """It was sent by an earlier try, or because of the same message: nothing goes out."""


async def _allowed(_: Request) -> None:
    """What only reads is asked nothing."""
