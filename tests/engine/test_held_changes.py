"""What is held changes while its lane has its turn: edited, dropped, a bug; and it is tried no more often than said."""

import asyncio

import pytest

from tests.engine.acting import Moody, acting
from tests.engine.test_held_lanes import hold

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")


@pytest.fixture
async def one(tmp_path):
    async with acting(tmp_path, Moody(patience_s=2.0)) as one:
        await hold(one, "a", "a", "a")
        one.actor.asked.clear()
        yield one


async def test_what_is_dropped_or_edited_while_one_before_it_is_tried_is_taken_as_it_is_then(one):
    one.actor.moods = {}
    _, second, third = await one.store.held.page()

    async def change(number):
        if number == 100:
            await one.runner._mending.drop(second)
            await one.store.held.edit(third.id, b'{"n": 7}')

    one.actor.before = change
    await one.pass_time(40.0)
    assert one.actor.done == [100, 7]
    assert (await one.held(), await one.lanes()) == ([], {})
    fates = await one.fates()
    assert (fates["held"], fates["left:applied"], fates["left:dropped"]) == (3, 2, 1)


async def test_a_turn_that_waits_behind_another_one_is_not_a_second_try(one):
    one.around.clock.now += 40.0
    await one.send("a", first=103)
    for _ in range(3):
        one.runner._look()
        await one.runner._fetch(one.cursor)
    await one.step(3)
    assert one.actor.asked == [100]


async def test_what_follows_a_held_lane_leaves_nothing_in_memory(one):
    for number in range(50):
        await one.send("a", first=200 + number)
        await one.step()
    assert len(one.runner._member.known._due) <= 2
    assert len(await one.held()) == 53


async def cancel(number):
    raise asyncio.CancelledError


async def test_a_held_one_whose_author_cancelled_what_it_waits_for_is_a_bug_and_not_forgotten(one):
    one.actor.before = cancel
    for _ in range(4):
        await one.pass_time(1_000.0)
    assert {reason for _, _, reason in await one.held()} == {"bug:Cancelled"}
    one.actor.before, one.actor.moods = None, {}
    first, *_ = await one.store.held.page()
    await one.runner.retry(first)
    assert one.actor.done[0] == 100


async def test_a_retry_that_is_asked_for_while_the_destination_is_down_does_not_keep_other_errands_waiting(one):
    one.actor.moods |= {n: ["retry"] for n in range(300, 320)}
    await one.send(*[f"u{n}" for n in range(20)], first=300)
    await one.step()
    assert one.runner._member.breaker.open
    first, *_ = await one.store.held.page()
    async with asyncio.timeout(2.0):
        assert await one.runner.retry(first) == "waits"
