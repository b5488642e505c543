"""However many fail for reasons of their own, and whatever else ends, those who are well are seen in the end."""

import random

import pytest

from tests.engine.acting import Acting, Moody, acting

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")


async def pass_until(one: Acting, seconds: float, step: float, amount: int) -> float:
    """Until so many are done; how long that took."""
    passed = 0.0
    while len(one.actor.done) < amount and passed < seconds:
        await one.pass_time(step)
        passed += step
    return passed


async def test_where_nobody_is_left_to_ask_the_next_of_the_log_are_asked(tmp_path):
    async with acting(tmp_path, Moody()) as one:
        one.actor.moods = {n: ["retry", "skip"] for n in range(8)}
        await one.send(*[f"u{n}" for n in range(8)])
        await one.step()
        assert one.runner._member.breaker.open
        await one.send(*[f"v{n}" for n in range(20)], first=20)
        for _ in range(12):
            await one.pass_time(40.0)
        assert sorted(one.actor.done) == list(range(20, 40))
        assert not one.runner._member.breaker.open


@pytest.mark.slow
async def test_a_block_of_people_who_fail_is_got_past_in_order_and_held(tmp_path):
    async with acting(tmp_path, Moody(window=50)) as one:
        one.actor.moods = {n: ["retry"] for n in range(120)}
        await one.send(*[f"u{n % 60}" for n in range(120)], *[f"v{n}" for n in range(100)])
        await pass_until(one, 7_200, 5.0, 100)
        assert one.actor.done == list(range(120, 220))
        assert one.runner._member.window.open <= 50
        one.actor.moods = {}
        await pass_until(one, 7_200, 100.0, 220)
        for n in range(60):
            assert [done for done in one.actor.done if done in (n, n + 60)] == [n, n + 60]
        assert (await one.held(), await one.lanes()) == ([], {})


async def test_while_everybody_gets_the_answer_of_an_outage_nothing_is_held_and_the_window_keeps_its_bound(tmp_path):
    async with acting(tmp_path, Moody(window=20)) as one:
        one.actor.moods = {n: ["outage"] for n in range(60)}
        await one.send(*[f"u{n}" for n in range(60)])
        for _ in range(100):
            await one.pass_time(40.0)
            assert one.runner._member.window.open <= 20
        assert (await one.held(), one.actor.done) == ([], [])
        one.actor.moods = {}
        await pass_until(one, 300, 1.0, 60)
        assert sorted(one.actor.done) == list(range(60))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.5])
async def test_of_many_who_fail_the_others_do_not_wait(tmp_path, share):
    async with acting(tmp_path, Moody()) as one:
        chance = random.Random(1)
        failing = [n for n in range(1_000) if chance.random() < share]
        one.actor.moods = {n: ["retry"] for n in failing}
        await one.send(*[f"u{n}" for n in range(1_000)])
        assert await pass_until(one, 60, 0.25, 1_000 - len(failing)) <= 10
        for n in range(20):
            await one.send(f"well{n}", first=2_000 + n)
            await one.pass_time(1.0)
        assert len(await one.held()) == len(failing)


async def test_one_who_fails_among_others_who_ask_nothing_does_not_stop_the_stream(tmp_path):
    async with acting(tmp_path, Moody(window=20)) as one:  # so a thousand may end behind one that is open
        one.actor.moods = {n: ["idle"] for n in range(1, 1_500)} | {0: ["retry"]}
        await one.send("a", *[f"x{n}" for n in range(1_499)])
        for _ in range(100):
            await one.pass_time(5.0)
        assert await one.held() == [(0, "waiting", "down")]
        assert await one.position() == 1_500


async def test_held_lanes_are_not_asked_instead_of_those_who_may_be_well(tmp_path):
    async with acting(tmp_path, Moody(patience_s=1.0)) as one:
        one.actor.moods = {n: ["retry"] for n in range(100, 110)}
        await one.send(*[f"well{n}" for n in range(20)])
        await one.step()
        await one.send(*[f"ill{n}" for n in range(10)], first=100)
        for n in range(10):
            await one.send(f"well{n}", first=30 + n)
            await one.pass_time(1.0)
        assert len(await one.lanes()) == 10
        one.actor.moods |= {n: ["retry", "ok"] for n in range(200, 230)}
        await one.send(*[f"down{n}" for n in range(30)], first=200)
        await one.step()
        assert one.runner._member.breaker.open
        one.actor.asked.clear()
        one.around.clock.now += 700.0  # every held lane is due
        await one.step(8)
        assert not [n for n in one.actor.asked if n < 200]
        await pass_until(one, 60, 1.0, 60)
        assert not one.runner._member.breaker.open
        assert await one.position() == 70
