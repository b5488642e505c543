"""A member lets go of its partitions in bounded time, whatever happens; and what is cancelled meanwhile is not lost."""

import asyncio
import sqlite3
from time import perf_counter

import pytest

from stream.commits import Commits
from stream.runner import Runner
from tests.embedded import Clock, Embedded, message
from tests.engine.acting import Moody, acting, sent, surroundings
from tests.engine.outcome import ready
from tests.engine.test_outage import patience
from tests.engine.test_runner import until


def locked(folder) -> sqlite3.Connection:
    """Another process that writes the store, and does not end."""
    other = sqlite3.connect(folder / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.mark.slow
async def test_a_store_that_is_out_does_not_keep_the_process_from_ending_and_nothing_is_lost(tmp_path):
    clock = Clock()
    async with surroundings(tmp_path, clock) as around:
        actor = Moody(grace_s=0.1)
        runner = Runner(actor, around, Commits(around.store))
        running = asyncio.create_task(runner.run())
        await until(lambda: runner.owns_something)
        await patience(around, 5)
        other = locked(tmp_path)
        await around.log.append([sent("a", 0), sent("b", 1)])
        await until(lambda: len(actor.done) == 2)
        begun = perf_counter()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(20):
                await running
        assert perf_counter() - begun < 5
        other.close()
    async with acting(tmp_path, Moody(), clock) as one:
        await one.step()
        assert one.actor.done == [0, 1]
        assert await one.fates() == {"applied": 2}


@pytest.mark.slow
async def test_nor_does_it_keep_a_projection(tmp_path):
    async with asyncio.timeout(20), Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("track", 1, userId="u1", event="x"))
        await system.step("audiences")  # nothing to write but the position, which is not written yet
        await patience(system, 5)
        assert system.projectors["audiences"]._unwritten.since is not None
        other, begun = locked(tmp_path), perf_counter()
    assert perf_counter() - begun < 5
    other.close()


async def test_one_whose_author_cancelled_what_it_waits_for_is_a_bug_and_not_forgotten(tmp_path):
    async with acting(tmp_path, Moody()) as one:

        async def cancel(number):
            if number == 0:
                raise asyncio.CancelledError

        one.actor.before = cancel
        await one.send("a", "b", "a")
        await one.step()
        for _ in range(3):
            await one.pass_time(1.0)
        assert await one.held() == [(0, "dead", "bug:Cancelled")]
        assert (one.actor.done, await one.position()) == ([1, 2], 3)
