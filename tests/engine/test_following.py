"""A held lane whose turn takes its time keeps nobody else out of the window, and nothing overtakes anything."""

import asyncio

import pytest

from tests.engine.acting import Moody, acting
from tests.engine.test_held_lanes import hold

WINDOW = 40


@pytest.fixture
async def one(tmp_path):
    async with acting(tmp_path, Moody(patience_s=2.0, window=WINDOW)) as one:
        await hold(one, "a")
        yield one


def filling(one, at, times):
    """Whenever this delivery is tried, so much comes for its lane that the window would be full, and somebody else."""
    numbers = iter(range(1_000, 10_000))
    left = iter(range(times))
    well = []

    async def fill(number):
        if number != at or next(left, None) is None:
            return
        first = next(numbers)
        await one.send(*["a"] * (WINDOW - 2), "other", first=first)
        well.append(first + WINDOW - 2)
        for _ in range(WINDOW - 2):
            next(numbers)
        await one.runner._fetch(one.cursor)
        async with asyncio.timeout(5):
            while one.runner._member.window.open or well[-1] not in one.actor.done:
                await asyncio.sleep(0.001)

    one.actor.before = fill
    return well


async def test_what_comes_during_a_turn_that_fails_is_held_at_once_and_others_go_on(one):
    filling(one, at=100, times=1)
    await one.pass_time(40.0)
    assert [number for number, *_ in await one.held()] == [100, *range(1_000, 1_000 + WINDOW - 2)]
    one.actor.moods, one.actor.before = {}, None
    one.actor.done.clear()
    await one.pass_time(1_000.0)
    assert one.actor.done == [100, *range(1_000, 1_000 + WINDOW - 2)]
    assert (await one.held(), await one.lanes()) == ([], {})


async def test_what_comes_during_a_turn_that_helps_is_tried_in_its_order_in_the_same_turn(one):
    one.actor.moods = {}
    well = filling(one, at=100, times=1)
    await one.pass_time(40.0)
    assert one.actor.done == [*well, 100, *range(1_000, 1_000 + WINDOW - 2)]
    assert (await one.held(), await one.lanes()) == ([], {})
    await one.send("a", first=200)
    await one.step()
    assert one.actor.done[-1] == 200


async def test_a_lane_that_is_filled_again_and_again_is_held_once_and_in_order(one):
    filling(one, at=100, times=20)
    for _ in range(20):
        await one.pass_time(1_000.0)
    one.actor.moods, one.actor.before = {}, None
    one.actor.done.clear()
    await one.pass_time(1_000.0)
    assert one.actor.done == sorted(one.actor.done) and len(one.actor.done) == 1 + 20 * (WINDOW - 2)
    assert (await one.held(), await one.lanes()) == ([], {})
    assert one.runner._member.window.open == 0
