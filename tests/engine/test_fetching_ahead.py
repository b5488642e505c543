"""Who is behind fetches the next batch while it deals with this one: nothing is dealt with twice, or not at all."""

import asyncio
import random

import pytest

from tests.embedded import Embedded, config, message
from tests.engine.outcome import ready
from tests.engine.test_several import USERS, two

pytestmark = pytest.mark.usefixtures("each_store")


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr("stream.projector.BATCH", 7)
    monkeypatch.setattr("stream.projector._FULL", 1)


async def send(system, first, times):
    """So many events of everybody."""
    for n in range(first, first + times):
        await system.send(*[message("track", n, userId=user, event="A", messageId=f"{user}-{n}") for user in USERS])


async def counted(system):
    """How many events of each were counted."""
    rows = (await system.store.load([("profiles", f"user:{user}") for user in USERS])).rows.values()
    return {row.value.partition('"A":')[2].partition("}")[0] for row in rows}


async def test_all_of_a_backlog_is_dealt_with_once(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles"])) as system:
        await ready(system)
        await send(system, 0, 10)
        await system.read()
        assert await counted(system) == {"10"}
        assert await system.fates() == {"profiles": {"applied": 10 * len(USERS)}}


async def test_what_was_fetched_ahead_of_leaving_is_dealt_with_by_whoever_joins(tmp_path):
    settings = config(tmp_path, ["profiles"])
    async with Embedded.open(tmp_path, settings) as system:
        await ready(system)
        await send(system, 0, 10)
        for _ in range(5):
            assert await system.projectors["profiles"].step(system.cursors["profiles"])
        assert system.projectors["profiles"]._ahead is not None
    async with Embedded.open(tmp_path, settings) as system:
        await ready(system)
        await system.read()
        assert await counted(system) == {"10"}


async def test_what_was_fetched_ahead_of_partitions_that_go_to_another_member_is_left_to_that_one(tmp_path):
    chance = random.Random(5)
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles"])) as system:
        for first in (0, 4, 8):
            await ready(system)
            await send(system, first, 2)
            one = system.projectors["profiles"]
            for _ in range(3):  # and it fetches ahead of all partitions, when the other one joins
                await one.step(system.cursors["profiles"])
            async with two(system, "profiles") as both:
                await send(system, first + 2, 2)
                for _ in range(20):
                    await both.step(chance.choice((both.one, both.other)))
                await asyncio.sleep(0)
        await system.read()
        assert await counted(system) == {"12"}
        assert await system.fates() == {"profiles": {"applied": 12 * len(USERS)}}


async def test_what_fails_ahead_is_raised_once_it_is_asked_for(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles"])) as system:
        await ready(system)
        await send(system, 0, 2)
        one, cursor = system.projectors["profiles"], system.cursors["profiles"]

        class Failing:
            left = 1
            commit = cursor.commit

            async def fetch(self, limit):
                if not self.left:
                    raise ZeroDivisionError
                self.left -= 1
                return await cursor.fetch(limit)

        failing = Failing()
        assert await one.step(failing) == 7
        with pytest.raises(ZeroDivisionError):
            await one.step(failing)
        await system.read()
        assert await counted(system) == {"2"}
