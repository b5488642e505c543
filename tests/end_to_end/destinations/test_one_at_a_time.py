"""Whoever wants to tell a destination of one person: a walk, a held retry, what happens now, several members. One sends
at a time, and a member that was frozen with the right to send does no harm."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from stream.building import build
from stream.commits import Commits
from stream.connector import Flow, Request
from stream.errors import Retry
from stream.gate import Gate
from stream.http import Allow, Client
from stream.syncer import Means, Syncing, look_of
from tests.brokers.parts import Parts
from tests.destination import Answer, Destination
from tests.end_to_end.crash.process import looking
from tests.end_to_end.destinations.inside import Ahead, Inside, inside
from tests.end_to_end.destinations.people import come, member, who
from tests.end_to_end.destinations.site import QUICK, Site, crm
from tests.engine.stalls import Stall

pytestmark = pytest.mark.slow

T = TypeVar("T")

HEALTHY = [who(number) for number in range(9)]


async def test_a_walk_a_held_retry_and_what_happens_now_are_one_after_another(tmp_path: Path, parts: Parts) -> None:
    stays = {"ann": True, "bob": False}
    async with Destination.open() as there:
        fails = there.on(Answer(status=500, effect="before"), stays)
        site = _site(tmp_path, parts, there)
        async with site.running() as process:
            await site.ready()
            await process.post(*(event for user in (*HEALTHY, *stays) for event in (come(user), member(user, True))))
            async with asyncio.timeout(10):
                while len(held := await site.held("audiences.crm")) < len(stays):
                    await asyncio.sleep(0.05)
            there.rules.remove(fails)
            there.on(Answer(delay=0.1, effect="after"))
            async with looking(site.config) as (_, store):
                await store.walks.ask("audiences.crm", "test", True, time.time())
                for one in held:
                    await store.requests.ask("held.retry", {"id": one.id}, "test", time.time())
                for number in range(1, 6):
                    await process.post(*(member(user, bool(number % 2) == stays[user], number) for user in stays))
            await site.settled()
        assert {user: there.has("vip", user) for user in stays} == stays
        assert there.most_at_once_of_one == 1
        assert there.most_at_once > 1, "others were told meanwhile"
        assert await site.wrong_fates() == []


async def test_two_members_that_look_at_one_person_at_once_send_one_after_another(tmp_path: Path, parts: Parts) -> None:
    clock = Ahead()
    async with Destination.open() as there:
        there.on(Answer(delay=0.05, effect="after"))
        site = _site(tmp_path, parts, there)
        async with inside(site.config, clock) as process, second(process, clock) as other:
            await site.ready()
            await process.post(come("ann"), member("ann", True))
            await there.until(lambda: there.has("vip", "ann"))
            looks = asyncio.create_task(_looks(other, clock, times=10))
            for number in range(1, 10):
                await process.post(member("ann", bool(number % 2), number))
                await there.until(lambda n=number: there.has("vip", "ann") == bool(n % 2))  # type: ignore[misc]
            await looks
            await process.post(member("ann", False, 10))
            await site.settled()
        assert not there.has("vip", "ann")
        assert len(there.asked("PUT", "ann")) > 5, "both sent"
        assert there.most_at_once_of_one == 1


@pytest.mark.parametrize("moment", ["before its bytes are allowed", "after they are"])
async def test_a_member_that_was_frozen_with_the_lease_does_no_harm_when_it_goes_on(
    tmp_path: Path, parts: Parts, moment: str
) -> None:
    clock, stall = Ahead(), Stall()
    async with Destination.open() as there:
        site = _site(tmp_path, parts, there)
        async with inside(site.config, clock) as process:
            await site.ready()
            await process.post(come("ann"), member("ann", True))
            await there.until(lambda: there.has("vip", "ann"))
            await site.settled()
            async with second(process, clock, Freezing(stall, moment.startswith("after"))) as frozen:
                looks = asyncio.create_task(_looks(frozen, clock, times=1))
                await stall.reached.wait()
                await process.post(member("ann", False, 1))
                await clock.until(lambda: there.asked("DELETE", "ann"), step=1.0)
                assert not there.has("vip", "ann"), "another member has withdrawn it"
                stall.let_go()
                await looks
                await clock.until(lambda: not there.has("vip", "ann"), step=1.0)
            await clock.passes(30.0, 1.0)
            await site.settled()
        assert not there.has("vip", "ann")
        assert await site.told("crm", "user_id:ann") == {"list:vip": "false"}
        assert len(there.asked("PUT", "ann")) == (2 if moment.startswith("after") else 1)


class Freezing:
    """A performer whose first request stops right before its bytes: before, or after, it was allowed."""

    def __init__(self, stall: Stall, after: bool) -> None:
        self._stall, self._after = stall, after
        self.client: Any = None

    async def perform(self, flow: Flow[T], allow: Allow, gives: bool, slow: bool = False) -> T:
        async def stopped(request: Request) -> None:
            if not self._after:
                await self._stall.pass_through()
            await allow(request)
            if self._after:
                await self._stall.pass_through()

        found: T = await self.client.perform(flow, stopped, gives, slow)
        return found


@contextlib.asynccontextmanager
async def second(process: Inside, clock: Ahead, freezing: Freezing | None = None) -> AsyncIterator[Syncing]:
    """Another member of the sync, on the same store."""
    config, around = process.app.config, process.app.around
    built = build(config)
    (sync,) = built.syncs
    async with Client.open(built.limits, clock, around.metrics) as client:
        if freezing is not None:
            freezing.client = client
        commits, timeout_s = Commits(around.store), built.limits["crm"].timeout_s
        means = Means(freezing or client, Gate(around, config), commits, timeout_s)
        yield Syncing(sync, built.lanes[sync.name], around, means)


async def _looks(syncing: Syncing, clock: Ahead, times: int) -> None:
    """So many looks at ann that tell everything anew, each tried until it is done."""
    for _ in range(times):
        done = False
        while not done:
            try:
                await syncing.act([look_of("user:ann", clock(), everything=True)], False)
                done = True
            except Retry as error:
                await clock.passes(min(error.after or 0.1, 0.1), 0.1)


def _site(folder: Path, parts: Parts, there: Destination) -> Site:
    processors = {"profiles": {}, "consent": {}, "deletion": {}, "audiences": {"destinations": ["crm"], "crm": QUICK}}
    connectors = {"crm": crm(there.port, timeout_s=2.0)}
    purposes = {"marketing": {"unknown": "allow"}}
    return Site(folder, parts, purposes=purposes, connectors=connectors, processors=processors)
