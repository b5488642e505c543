"""One member of a sync or reactor: order, fates, the window, retries, most of them dying, revokes."""

import asyncio

import pytest

from stream.commits import Commits
from stream.errors import Dead, NotYet, PositionLost, Retry, Stopped
from stream.runner import Runner
from tests.embedded import Clock
from tests.engine.acting import Moody, acting, sent, surroundings

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")


@pytest.fixture
async def one(tmp_path):
    async with acting(tmp_path, Moody()) as one:
        yield one


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def deliveries(one):
    return [delivery async for delivery in one.log.read("segment.track")]


async def test_every_delivery_ends_in_one_fate_and_they_add_up(one):
    one.actor.moods = {1: ["skip"], 2: ["dead"], 3: ["bug"], 4: ["idle"]}
    await one.send(*"abcdef")
    await one.step()
    for _ in range(2):
        await one.pass_time(1)
    assert await one.fates() == {"applied": 3, "skipped:not_today": 1, "held": 2}
    assert await one.held() == [(2, "dead", "wrong"), (3, "dead", "bug:ZeroDivisionError")]
    assert one.actor.asked.count(3) == 3
    assert await one.position() == 6


async def test_the_position_never_passes_an_open_delivery(one):
    one.actor.moods = {1: ["retry", "ok"]}
    await one.send(*"abcd")
    await one.step()
    assert one.actor.done == [0, 2, 3]
    assert (await one.position(), await one.fates()) == (1, {"applied": 1})
    await one.pass_time(0.25)
    assert (await one.position(), await one.fates()) == (4, {"applied": 4})


async def test_what_waits_for_its_next_try_holds_up_its_lane_alone(tmp_path):
    async with acting(tmp_path, Moody(concurrency=1)) as one:
        one.actor.moods = {0: ["retry", "retry", "ok"]}
        await one.send("a", "b", "a", "c")
        await one.step()
        assert one.actor.done == [1, 3]
        await one.pass_time(0.25)
        assert (one.actor.done, one.actor.asked) == ([1, 3], [0, 1, 3, 0])
        await one.pass_time(0.25)
        assert one.actor.asked == [0, 1, 3, 0]
        await one.pass_time(0.25)
        assert one.actor.done == [1, 3, 0, 2]


async def test_a_new_processor_starts_at_the_end_of_the_log_and_that_is_kept(tmp_path):
    clock = Clock()
    async with surroundings(tmp_path, clock) as around:
        await around.log.append([sent("a", 0), sent("b", 1)])
    async with acting(tmp_path, Moody(), clock) as one:
        assert await one.position() == 2
    async with surroundings(tmp_path, clock) as around:
        await around.log.append([sent("a", 2)])
    async with acting(tmp_path, Moody(), clock) as one:
        await one.step()
        assert one.actor.done == [2]


async def test_no_more_is_fetched_than_the_window_has_room_for(tmp_path):
    async with acting(tmp_path, Moody(window=10, patience_s=1000.0)) as one:
        one.actor.moods = {n: ["notyet"] for n in range(7)}
        await one.send(*[f"u{n}" for n in range(7)], *["x"] * 50)
        for _ in range(30):
            await one.step()
            assert one.runner._member.window.open <= 10
        assert one.actor.done == list(range(7, 57))  # three at a time


async def test_while_the_destination_is_down_one_person_after_another_is_asked_and_nothing_is_fetched(one):
    one.actor.moods = {n: ["retry"] for n in range(100)}
    await one.send(*[f"u{n}" for n in range(20)])
    await one.step()
    asked = len(one.actor.asked)
    assert asked == 8
    await one.send(*[f"v{n}" for n in range(20)], first=20)
    await one.step()
    assert len(one.actor.asked) == asked
    await one.pass_time(1.0)
    await one.step()
    assert len(one.actor.asked) == asked + 1
    assert await one.held() == []
    one.actor.moods = {}
    for _ in range(4):
        await one.pass_time(40.0)
    await one.step(2)
    assert sorted(one.actor.done) == list(range(40))
    assert await one.fates() == {"applied": 40}


async def test_who_asked_nothing_does_not_close_the_breaker(one):
    one.actor.moods = {n: ["retry"] for n in range(8)} | {n: ["idle"] for n in range(8, 40)}
    await one.send(*[f"u{n}" for n in range(40)])
    await one.step()
    await one.pass_time(1.0)
    assert one.runner._member.breaker.open


async def test_most_deliveries_dying_stops_it_and_the_rest_stays_in_the_log(one):
    one.actor.moods = {n: ["dead"] for n in range(200)}
    await one.send(*[f"u{n}" for n in range(200)])
    with pytest.raises(Stopped, match=r"most of its last deliveries died \(wrong\)"):
        await one.step()
    held = len(await one.held())
    assert 20 <= held <= 20 + one.actor.config.concurrency
    assert await one.position() <= held


async def test_all_that_waits_of_a_lane_is_one_look_where_the_actor_joins(tmp_path):
    async with acting(tmp_path, Moody(joins=True)) as one:
        await one.send("a", "b", "a", "a")
        await one.step()
        assert sorted(one.actor.done) == [1, 3]
        assert await one.fates() == {"applied": 2, "skipped:joined": 2}


async def test_what_is_put_goes_through_its_lane_and_tells_how_it_ended(one):
    await one.send(*"abcd")
    first, second, third, fourth = await deliveries(one)
    one.actor.moods = {1: ["skip"], 2: ["retry"], 3: ["dead"]}
    assert await one.runner.put(first, slow=True) == "applied"
    assert await one.runner.put(second, slow=False) == "skipped:not_today"
    with pytest.raises(Retry, match="down"):
        await one.runner.put(third, slow=True)
    with pytest.raises(Dead):
        await one.runner.put(fourth, slow=True)
    assert one.actor.slow == [True, False, True, True]
    assert (await one.held(), await one.fates(), await one.position()) == ([], {}, 0)


async def test_what_is_put_waits_behind_what_is_fetched_of_the_same_lane(one):
    one.actor.moods = {0: ["retry", "ok"]}
    await one.send("a")
    await one.step()
    (delivery,) = await deliveries(one)
    put = asyncio.create_task(one.runner.put(delivery, slow=True))
    await one.step()
    assert not put.done()
    await one.pass_time(1.0)
    assert await put == "applied"
    assert one.actor.done == [0, 0]


async def test_nothing_is_put_where_nothing_is_owned(tmp_path):
    async with acting(tmp_path, Moody()) as one:
        await one.send("a")
        (delivery,) = await deliveries(one)
    with pytest.raises(NotYet):
        await one.runner.put(delivery, slow=True)


async def test_leaving_waits_for_what_runs_and_keeps_it(tmp_path):
    clock, began, go = Clock(), asyncio.Event(), asyncio.Event()

    async def wait(number):
        began.set()
        await go.wait()

    actor = Moody(concurrency=1)
    actor.before = wait
    async with surroundings(tmp_path, clock) as around:
        runner = Runner(actor, around, Commits(around.store))
        running = asyncio.create_task(runner.run())
        await until(lambda: runner.owns_something)
        await around.log.append([sent("a", 0), sent("b", 1)])
        await began.wait()
        running.cancel()
        await asyncio.sleep(0.02)
        assert not running.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert actor.done == [0]  # the other one was not begun
        assert await around.store.positions.fates() == {"moody": {"applied": 1}}
    async with acting(tmp_path, Moody(), clock) as one:
        await one.step()
        assert one.actor.done == [1]


async def test_leaving_lets_go_of_what_outlasts_the_grace(tmp_path):
    began = asyncio.Event()

    async def hang(number):
        began.set()
        await asyncio.Event().wait()

    actor = Moody(grace_s=0.01)
    actor.before = hang
    async with surroundings(tmp_path, Clock()) as around:
        runner = Runner(actor, around, Commits(around.store))
        running = asyncio.create_task(runner.run())
        await until(lambda: runner.owns_something)
        await around.log.append([sent("a", 0)])
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await around.store.positions.fates() == {}
    async with acting(tmp_path, Moody()) as one:
        await one.step()
        assert one.actor.done == [0]


async def test_what_another_member_claimed_is_neither_written_nor_acted_on(one):
    one.actor.moods = {0: ["retry", "ok"]}
    await one.send("a", "a")
    await one.step()
    bounds = await one.log.bounds(["segment.track"])
    await one.store.positions.claim("moody", {p: 0 for p in bounds}, await one.log.identities(["segment.track"]))
    await one.send("b", first=2)
    await one.pass_time(10.0)
    assert one.actor.asked == [0] and not one.runner.owns_something
    assert (await one.position(), await one.fates()) == (0, {})


async def test_a_log_that_lost_what_is_to_be_read_stops_it(tmp_path):
    clock = Clock()
    async with acting(tmp_path, Moody(), clock) as one:
        await one.send("a")
        await one.step()
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    async with surroundings(tmp_path, clock) as around:
        runner = Runner(Moody(), around, Commits(around.store))
        with pytest.raises(PositionLost, match="the log was replaced"):
            async with asyncio.timeout(10):
                await runner.run()


async def test_a_bug_of_ours_ends_the_run(tmp_path):
    class Broken(Moody):
        def about(self, delivery):
            raise LookupError("ours")

    actor = Broken()
    actor.moods = {0: ["dead"]}
    async with surroundings(tmp_path, Clock()) as around:
        runner = Runner(actor, around, Commits(around.store))
        running = asyncio.create_task(runner.run())
        await until(lambda: runner.owns_something)
        await around.log.append([sent("a", 0)])
        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(10):
                await running
