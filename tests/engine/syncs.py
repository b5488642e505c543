"""Syncs, stepped by hand: real projections, store, gate, leases and flows; only the destination is a dict."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, structs

from stream import topics
from stream.commits import Commits
from stream.config import Config, LaneConfig, PurposeConfig
from stream.connector import Change, Flow, Limits, Request, Response
from stream.errors import Outcome, Retry, Skip
from stream.gate import Gate
from stream.http import Allow
from stream.http.performer import drive
from stream.message import Delivery, Message, Partition
from stream.person import Person
from stream.processor import Sync, Want
from stream.store.confirmed import Told
from stream.syncer import Means, Syncing, look_of
from tests.embedded import Clock, Embedded, config, message
from tests.engine.outcome import ready

T = TypeVar("T")

TIMEOUT_S = 10.0


class Crm:
    """A connector whose requests say plainly what they ask."""

    name = "crm"
    kinds = ("email",)
    limits = Limits(timeout_s=TIMEOUT_S)

    def __init__(self, at_once: int = 1) -> None:
        self.bulk: Mapping[str, int] = {"set_membership": at_once}

    def upsert_profile(self, changes: Sequence[Change]) -> Flow[None]:
        return self._ask("upsert_profile", changes)

    def set_membership(self, changes: Sequence[Change]) -> Flow[None]:
        return self._ask("set_membership", changes)

    def set_consent(self, changes: Sequence[Change]) -> Flow[None]:
        return self._ask("set_consent", changes)

    def delete_person(self, changes: Sequence[Change]) -> Flow[None]:
        return self._ask("delete_person", changes)

    def _ask(self, verb: str, changes: Sequence[Change]) -> Generator[Request, Response, None]:
        asked = {"verb": verb, "thing": changes[0].thing, "value": changes[0].value, "ids": [c.id for c in changes]}
        assert all((c.thing, c.value) == (changes[0].thing, changes[0].value) for c in changes)
        yield Request(destination=self.name, method="POST", url="https://crm.example/", body=json.dumps(asked).encode())


class Asked(Struct, frozen=True):
    """One request, as the destination understood it."""

    verb: str
    thing: str
    value: Any
    ids: tuple[str, ...]


class Wire:
    """A performer and the destination behind it. `before` and `after` meet each request around its effect, and may
    raise; `things` is what it holds: (id, thing) → value."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.things: dict[tuple[str, str], Any] = {}
        self.before: Callable[[Asked], Awaitable[None]] | None = None
        self.after: Callable[[Asked], Awaitable[None]] | None = None
        self.most_at_once = 0
        self._running: list[str] = []

    async def perform(self, flow: Flow[T], allow: Allow, gives: bool, slow: bool = False) -> T:
        async def ask(request: Request) -> Response:
            asked = Asked(**{k: tuple(v) if k == "ids" else v for k, v in json.loads(request.body or b"").items()})
            if self.before is not None:
                await self.before(asked)
            await allow(request)
            self.asked.append(asked)
            self._running += asked.ids
            self.most_at_once = max(self.most_at_once, *map(self._running.count, asked.ids))
            try:
                self._do(asked)
                if self.after is not None:
                    await self.after(asked)
            finally:
                for one in asked.ids:
                    self._running.remove(one)
            return Response(status=200)

        return await drive(flow, ask)

    def _do(self, asked: Asked) -> None:
        for one in asked.ids:
            if asked.verb == "delete_person":
                self.things = {key: value for key, value in self.things.items() if key[0] != one}
            else:
                self.things[one, asked.thing] = asked.value

    def on(self, thing: str) -> set[str]:
        """Who is on a list."""
        return {one for (one, of), value in self.things.items() if of == thing and value}


class Lists(Sync):
    """On the list of each of the audiences, by the newest e-mail address."""

    facets = ("audience", "consent")
    purpose = "marketing"
    name = "audiences.crm"

    def __init__(self, connector: Crm) -> None:
        self.connector = connector

    def wanted(self, person: Person) -> Sequence[Want]:
        address = person.address(self.connector.kinds)
        members = [key.rpartition("/")[2] for key, found in person.audiences.items() if found.member]
        return [Want(address, "set_membership", f"list:{key}", True) for key in members] if address else []


class System:
    """Projections, and members of one sync, stepped by hand."""

    def __init__(self, embedded: Embedded, sync: Sync, settings: Config) -> None:
        self.embedded = embedded
        self.sync = sync
        self.wire = Wire()
        self.clock: Clock = embedded.around.clock  # type: ignore[assignment]
        self._settings = settings
        self._seen: set[tuple[Partition, int]] = set()
        self.syncing = self.member()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, folder: Path, sync: Sync, clock: Clock | None = None, **more: Any) -> AsyncIterator["System"]:
        """On the files of this folder."""
        purposes = {"marketing": PurposeConfig(channels=("email",), unknown="allow")}
        settings = structs.replace(config(folder), purposes=purposes, **more)
        async with Embedded.open(folder, settings, clock) as embedded:
            await ready(embedded)  # who looks whether it has caught up before that looks again only later, by real time
            embedded.store.deletions.destinations = {"crm": ("email",)}
            embedded.store.deletions.deletable = {"crm"}
            yield cls(embedded, sync, settings)

    def member(self, sync: Sync | None = None) -> Syncing:
        """Another member of the sync, or one of another sync, with the same destination."""
        around = self.embedded.around
        means = Means(self.wire, Gate(around, self._settings), Commits(around.store), TIMEOUT_S)
        return Syncing(sync or self.sync, LaneConfig(), around, means)

    async def send(self, *messages: Message) -> None:
        """These come in, and all projections deal with them."""
        await self.embedded.send(*messages)
        await self.embedded.settle()

    async def settle(self, *members: Syncing) -> list[str]:
        """All looks that are asked for now are taken, and again until none is; their fates."""
        fates: list[str] = []
        while lanes := await self.lanes():
            for deliveries in lanes.values():
                fates += [await self.act(member, deliveries) for member in members or [self.syncing]]
        return fates

    async def lanes(self) -> dict[str, list[Delivery]]:
        """What came on person.changed since the last time, by lane."""
        await self.embedded.settle()
        every = await self.embedded.topic(topics.PERSON_CHANGED)
        fresh = [delivery for delivery in every if (delivery.partition, delivery.offset) not in self._seen]
        self._seen.update((delivery.partition, delivery.offset) for delivery in fresh)
        lanes: dict[str, list[Delivery]] = {}
        for delivery in fresh:
            lanes.setdefault(self.syncing.lane(delivery), []).append(delivery)
        return lanes

    async def act(self, member: Syncing, deliveries: Sequence[Delivery]) -> str:
        """One look, tried again as a runner does, but at once: time is moved instead. Its fate."""
        if not (left := [delivery for delivery in deliveries if member.skips(delivery) is None]):
            return str(member.skips(deliveries[-1]))
        while True:
            try:
                await member.act(left, False)
            except Skip as skip:
                return f"skipped:{skip.reason}"
            except Retry as error:
                await self.passes(0.2 if error.after is None else error.after)
            except Outcome as outcome:
                return f"held:{outcome.reason}"
            else:
                return "applied"

    async def passes(self, seconds: float) -> None:
        """Time passes; the projections see it."""
        self.clock.now += seconds
        await self.embedded.read()

    async def look(self, person: str, member: Syncing | None = None, everything: bool = False) -> str:
        """A look that nobody's change asked for."""
        return await self.act(member or self.syncing, [look_of(person, self.clock.now, everything)])

    async def told(self, *subjects: str) -> dict[tuple[str, str], str | None]:
        """What the destination was told on behalf of these, as JSON."""
        found = await self.embedded.store.db.reading(
            lambda tx: self.embedded.store.confirmed.about(tx, "crm", subjects, ())
        )
        return {(one.address, one.thing): one.value for one in found}

    async def rows(self, address: str) -> list[Told]:
        """What it was told about an address."""
        return await self.embedded.store.db.reading(
            lambda tx: self.embedded.store.confirmed.about(tx, "crm", (), [address])
        )


def identify(user: str, at: float, email: str | None = None, **more: Any) -> Message:
    """Somebody, with an e-mail address."""
    traits = {} if email is None else {"email": email}
    return message("identify", at, userId=user, traits={**traits, **more.pop("traits", {})}, **more)


def audience(user: str, at: float, member: bool, key: str = "vip") -> Message:
    """Engage says that somebody entered or left an audience."""
    personas = {"computation_class": "audience", "computation_key": key, "computation_id": "aud_1", "space_id": "spa"}
    body = {"traits": {key: member}, "context": {"personas": personas}, "messageId": f"{user}-{key}-{at}"}
    return message("identify", at, userId=user, **body)


def opt_out(user: str, at: float) -> Message:
    """No more e-mail."""
    return message("track", at, userId=user, event="Email Unsubscribed")


def opt_in(user: str, at: float) -> Message:
    """E-mail again."""
    return message("track", at, userId=user, event="Email Subscribed", properties={"list_id": None})
