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


async def test_what_keeps_coming_does_not_keep_a_turn_from_writing_what_it_did(tmp_path):
    async with acting(tmp_path, Moody(patience_s=2.0, window=1_000)) as one:
        await hold(one, "a")
        one.actor.moods = {}
        await one.send(*["a"] * 20_000, first=1_000)
        feeding = []

        async def feed():
            while True:
                if one.runner._room:
                    await one.runner._fetch(one.cursor)
                await asyncio.sleep(0)

        async def come(number):
            if number == 100:
                feeding.append(asyncio.create_task(feed()))
                await asyncio.sleep(0.05)

        one.actor.before = come
        one.around.clock.now += 40.0
        stepping = asyncio.create_task(one.step())
        async with asyncio.timeout(20):
            while (await one.fates()).get("left:applied", 0) == 0:
                await asyncio.sleep(0.005)
        [(held,)] = await one.store.db.reading(lambda tx: tx.all("SELECT count(*) FROM held"))
        assert held < 10_000, "it did not wait until all of them had come"
        for task in (*feeding, stepping):
            task.cancel()
        await asyncio.wait([*feeding, stepping])


async def test_a_lane_whose_turn_was_cancelled_has_another_one(one):
    one.actor.moods = {}
    begun = asyncio.Event()

    async def hang(number):
        begun.set()
        await asyncio.Event().wait()

    one.actor.before = hang
    one.around.clock.now += 40.0
    stepping = asyncio.create_task(one.step())
    await begun.wait()
    await one.runner._crew.settle(lambda taken: taken.key == "a", 0.0)
    one.actor.before = None
    await asyncio.wait([stepping])
    await one.pass_time(1_000.0)
    assert (one.actor.done, await one.held(), await one.lanes()) == ([100], [], {})


async def test_a_lane_whose_turn_came_before_a_clock_was_set_back_has_another_one(one):
    one.actor.moods = {}
    one.around.clock.now += 40.0
    one.runner._look()
    one.around.clock.now -= 60.0
    await one.step()
    assert one.actor.done == []
    await one.pass_time(1_000.0)
    assert (one.actor.done, await one.held(), await one.lanes()) == ([100], [], {})
