"""Whoever shares an address, says what, is merged, deleted and comes back, in whatever order: the destination ends as
wanted, and nothing is given that is not allowed."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from processors.audiences import Lists
from processors.audiences import Settings as ListSettings
from processors.consent import Answers, Carried
from processors.deletion import Forgotten
from processors.deletion import Settings as DeletionSettings
from processors.profiles import Settings as ProfileSettings
from processors.profiles import Upserts
from stream.commits import Commits
from stream.config import Config, LaneConfig, PurposeConfig
from stream.errors import Retry
from stream.gate import Gate
from stream.message import Message
from stream.person import Person
from stream.syncer import Means, Syncing
from tests.embedded import Clock, Embedded, config, message
from tests.engine.mailing import Api, Line
from tests.engine.syncs import TIMEOUT_S, System
from tests.mailing_list import Seen

WHO = ({"userId": "1"}, {"userId": "2"}, {"anonymousId": "9"})
SUBJECTS = ("user:1", "user:2", "anon:9")
ADDRESSES = ("a@b.c", " A@B.c ", "x@b.c")
FAULTS = ("refused", "unanswered", "late")
STEPS = st.one_of(
    st.tuples(st.just("email"), st.integers(0, 2), st.sampled_from(ADDRESSES)),
    st.tuples(st.just("member"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("says"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("links"), st.integers(0, 1), st.none()),
    st.tuples(st.just("delete"), st.integers(0, 2), st.none()),
    st.tuples(st.just("looks"), st.integers(0, 5), st.sampled_from((None, *FAULTS))),
    st.tuples(st.just("restart"), st.just(0), st.none()),
)
HISTORIES = st.lists(STEPS, min_size=2, max_size=16)


class History:
    """The system over its restarts, with its destination."""

    def __init__(self, folder: Path, unknown: str) -> None:
        self.clock, self.api = Clock(), Api()
        self.line = Line(self.clock)
        purposes = {"marketing": PurposeConfig(channels=("email",), unknown=unknown)}  # type: ignore[arg-type]
        self.unknown = unknown
        self.config: Config = structs.replace(config(folder), purposes=purposes)
        self.folder = folder
        self.faults: list[str] = []

    async def run(self, steps: Sequence[tuple[str, int, object]]) -> None:
        left = list(steps)
        while left is not None:
            async with Embedded.open(self.folder, self.config, self.clock) as embedded:
                embedded.store.deletions.destinations = {"crm": ("email",)}
                embedded.store.deletions.deletable = {"crm"}
                system = System(embedded, Lists("audiences.crm", self.api, ListSettings()), self.config)
                members = self._members(embedded)
                self.line.after = self._meets(embedded)
                left = await self._steps(system, members, left)

    def _members(self, embedded: Embedded) -> list[Syncing]:
        around = embedded.around
        means = Means(self.line, Gate(around, self.config), Commits(around.store), TIMEOUT_S)
        syncs = (
            Lists("audiences.crm", self.api, ListSettings()),
            Answers("consent.crm", self.api, Carried()),
            Upserts("profiles.crm", self.api, ProfileSettings()),
            Forgotten("deletion.crm", self.api, DeletionSettings()),
        )
        return [Syncing(sync, LaneConfig(), around, means) for sync in syncs]

    def _meets(self, embedded: Embedded):
        async def after(seen: Seen) -> None:
            await self._is_allowed(embedded, seen)
            if self.faults:
                self.faults.pop()
                raise Retry("timeout")

        async def before(seen: Seen) -> None:
            if self.faults and self.faults[-1] == "refused":
                self.faults.pop()
                raise Retry("http_503")
            self.line.delays = bool(self.faults) and self.faults[-1] == "late"

        self.line.before = before
        return after

    async def _is_allowed(self, embedded: Embedded, seen: Seen) -> None:
        """Whatever is given is allowed by all as they are known when it goes out."""
        given = seen.json["add"] if seen.method == "POST" and "add" in seen.json else []
        for address in given:
            people = await people_of(embedded)
            sharing = [p for p in people if address in p.identifiers.get("email", ())]
            assert "no" not in {said(p) for p in sharing}, f"{address} was given to who said no"
            assert any(said(p) == "yes" or self.unknown == "allow" for p in sharing), f"{address}: nobody allowed it"

    async def _steps(self, system: System, members: list[Syncing], steps: list) -> list | None:
        while steps:
            kind, which, more = steps.pop(0)
            self.clock.now += 1
            self.line.arrive()
            if kind == "restart":
                self.clock.now += 60
                self.line.arrive()
                return steps
            if kind == "looks":
                self.faults = [] if more is None else [more]
                rotated = members[which % 4 :] + members[: which % 4]
                await self._settle(system, rotated)
            else:
                await system.send(self._message(kind, which, more))
        self.faults = []
        await self._settle(system, members)
        self.clock.now += 60
        self.line.arrive()
        await self._settle(system, members)
        await self._is_as_wanted(system.embedded)
        return None

    async def _settle(self, system: System, members: list[Syncing]) -> None:
        await system.passes(0.0)
        await system.settle(*members)
        await system.embedded.settle()
        await system.settle(*members)
        await system.embedded.settle()

    def _message(self, kind: str, which: int, more: object) -> Message:
        now, who = self.clock.now, WHO[which]
        match kind:
            case "email":
                return message("identify", now, **who, traits={"email": more})
            case "member":
                personas = {"computation_class": "audience", "computation_key": "vip", "space_id": "spa"}
                return message("identify", now, **who, traits={"vip": more}, context={"personas": personas})
            case "says":
                return message("track", now, **who, event="Email Subscribed" if more else "Email Unsubscribed")
            case "links":
                return message("identify", now, **who, anonymousId="9", traits={})
        return message("delete", now, **who, headers={"authority": "segment"})

    async def _is_as_wanted(self, embedded: Embedded) -> None:
        people, state = await people_of(embedded), self.line.state
        assert {one.state for one in await embedded.store.deletions.every()} <= {"done"}
        for address in ("a@b.c", "x@b.c"):
            sharing = [p for p in people if address in p.identifiers.get("email", ())]
            words = {said(p) for p in sharing}
            mine = [p for p in sharing if p.address(("email",)) == f"email:{address}"]
            allowed = [p for p in mine if said(p) == "yes" or (said(p) is None and self.unknown == "allow")]
            listed = "no" not in words and any(p.member("vip") for p in allowed)
            assert state.has("vip", address) == listed, f"{address}: on the list?"
            consent = state.consents.get(address, {}).get("email")
            if "no" in words:
                assert consent is False, f"{address}: told of the no?"
            elif any(said(p) == "yes" for p in mine):
                assert consent is True, f"{address}: told of the yes?"
            else:
                assert consent is not True, f"{address}: a yes of nobody"
            if not sharing:
                known = address in state.people or address in state.consents or state.has("vip", address)
                assert not known, f"{address}: still there of the deleted"
            if (best := sorted(allowed, key=lambda p: (-(p.last_seen or 0), p.key))[:1]) and "no" not in words:
                assert state.people.get(address) == best[0].traits, f"{address}: whose profile?"


async def people_of(embedded: Embedded) -> list[Person]:
    found = [person for s in SUBJECTS if (person := await embedded.person(s)) is not None]
    return list({person.key: person for person in found}.values())


def said(person: Person) -> str | None:
    """What they say about e-mail."""
    if "email" not in person.subscriptions:
        return None
    return "yes" if person.subscriptions["email"].status == "subscribed" else "no"


@pytest.mark.slow
@pytest.mark.parametrize("unknown", ["allow", "deny"])
def test_the_destination_ends_as_wanted_whatever_people_do_and_in_whatever_order(unknown: str) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(HISTORIES)
    def check(steps: list[tuple[str, int, object]]) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            asyncio.run(asyncio.wait_for(History(folder, unknown).run(steps), 20))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    check()
