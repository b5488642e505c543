"""A member whose partitions go and come back while it writes or looks: it goes on with what it has then."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from stream.commits import Commits
from stream.runner import Runner
from tests.embedded import Clock
from tests.engine.acting import TOPIC, Moody, sent, surroundings
from tests.engine.stalls import Over, Stall, stalled


@asynccontextmanager
async def running(tmp_path, method, stall):
    """A member that owns something, and waits at the stall before it does this to the store the next time."""
    async with surroundings(tmp_path, Clock()) as around, asyncio.timeout(8):
        plain, db = around.store.db, Over(around.store.db)
        store = Over(around.store, db=db)
        around = structs.replace(around, store=store)
        runner = Runner(Moody(), around, Commits(store))
        task = asyncio.create_task(runner.run())
        while not runner.owns_something:
            await asyncio.sleep(0.001)
        setattr(db, method, getattr(stalled(plain, method, stall), method))
        yield around, runner
        task.cancel()
        await asyncio.wait([task])


async def assigned_anew(around, runner):
    """Somebody joins the group, and leaves it."""

    async def assigned(partitions):
        return dict.fromkeys(partitions, 0)

    async def revoked(partitions):
        pass

    before = runner.assigned
    async with around.log.consume(runner.name, [TOPIC], assigned, revoked):
        pass
    while runner.assigned == before:
        await asyncio.sleep(0.001)


async def applied(around, amount):
    while (await around.store.positions.fates()).get("moody") != {"applied": amount}:
        await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_a_write_that_is_given_up_with_its_partition_does_not_keep_later_ones_from_being_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("stream.runner.owning._LAST_S", 0.0)
    stall = Stall()
    async with running(tmp_path, "writing", stall) as (around, runner):
        await around.log.append([sent("a", 0)])
        await stall.reached.wait()
        await assigned_anew(around, runner)
        stall.let_go()
        await around.log.append([sent("b", 1)])
        await applied(around, 2)


@pytest.mark.slow
async def test_a_look_that_began_under_an_older_claim_does_not_give_up_what_was_claimed_meanwhile(tmp_path):
    stall = Stall()
    async with running(tmp_path, "reading", stall) as (around, runner):
        await stall.reached.wait()
        await assigned_anew(around, runner)
        stall.let_go()
        await around.log.append([sent("a", 0)])
        await applied(around, 1)
