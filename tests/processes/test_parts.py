"""Receivers and processors as processes of their own: events in at any receiver, people out, whoever does the work."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from time import monotonic
from typing import Any

import pytest

from stream.snapshot import read
from tests.end_to_end.crash.posts import bought, identify
from tests.end_to_end.crash.process import looking
from tests.end_to_end.destinations.site import SECRET, Site

pytestmark = pytest.mark.slow

PROCESSORS: dict[str, dict[str, Any]] = {"profiles": {}, "audiences": {}, "consent": {}, "deletion": {}}
_PATIENCE_S = 40.0


async def test_two_receivers_on_one_port_and_two_members_of_a_processor_do_the_work_of_one(
    site: Callable[..., Site], port: int
) -> None:
    receiver = {"host": "127.0.0.1", "port": port, "secrets": [SECRET], "reuse_port": True}
    one = site(receiver=receiver, processors=PROCESSORS)
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(one.running("receiver")) for _ in range(2)]
        for parts in (["profiles"], ["profiles", "audiences"], ["consent", "deletion"]):
            await stack.enter_async_context(one.running(*parts))
        posts = [bought(f"m{n}", f"u{n % 20}", 1) for n in range(200)]
        await asyncio.gather(*(receivers[n % 2].post(*posts[n::10]) for n in range(10)))
        await one.projected()
        async with looking(one.config) as (_, store):
            snapshot = await read(store, [f"user:u{n}" for n in range(20)])
            people = [snapshot.person(f"user:u{n}") for n in range(20)]
            assert [person.events if person else None for person in people] == [{"Bought": 10}] * 20
            await caught_up(store, "profiles")


async def test_a_processor_goes_on_where_a_member_was_killed(site: Callable[..., Site]) -> None:
    one = site(processors=PROCESSORS)
    async with one.running("receiver") as receiver, one.running("consent", "deletion", "audiences", "profiles"):
        async with one.running("profiles") as other:
            await receiver.post(*[identify(f"a{n}", f"u{n}", {"n": n}) for n in range(50)])
            await one.projected()
            await other.end(9)
        await receiver.post(*[identify(f"b{n}", f"u{n}", {"n": n + 1}) for n in range(50)])
        await one.projected()
        async with looking(one.config) as (_, store):
            snapshot = await read(store, [f"user:u{n}" for n in range(50)])
            people = [snapshot.person(f"user:u{n}") for n in range(50)]
            assert [person.traits if person else None for person in people] == [{"n": n + 1} for n in range(50)]
            assert not await store.marks.open("profiles"), "whoever has the partitions now publishes what was left"


async def caught_up(store: Any, processor: str) -> None:
    """Waits until the store says that the processor has dealt with all that there was from now on."""
    begun, ends = None, monotonic() + _PATIENCE_S
    while True:
        standing = await store.db.reading(store.positions.standing)
        begun = standing.get(processor) if begun is None else begun
        if begun is not None and standing[processor] > begun:
            return
        assert monotonic() < ends, standing
        await asyncio.sleep(0.1)
