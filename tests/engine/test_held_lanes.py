"""What fails for one person leaves memory with all that comes behind it, is tried again in order, overtakes nothing."""

import pytest

from stream.commits import Commits
from stream.core.envelope import Limits
from stream.errands import Errands
from stream.runner import Runner
from stream.worker import Worker
from tests.embedded import Clock
from tests.engine.acting import Acting, Moody, acting, acting_beside, surroundings

pytestmark = pytest.mark.usefixtures("each_store")

WELL = tuple(f"well{n}" for n in range(8))  # enough people for whom it works


async def hold(one: Acting, *lanes: str) -> None:
    """Deliveries of these lanes from number 100 on; the first fails until its lane is held."""
    await one.send(*WELL)
    await one.step()
    one.actor.moods[100] = ["retry"]
    await one.send(*lanes, first=100)
    await one.step()
    for n in range(10):
        await one.send("well", first=10 + n)  # others get on meanwhile
        await one.step()
        await one.pass_time(1.0)
        if await one.held():
            break
    one.actor.done.clear()


@pytest.fixture
async def one(tmp_path):
    async with acting(tmp_path, Moody(patience_s=2.0)) as one:
        yield one


@pytest.fixture
def ask(one):
    """Asks, has it carried out, and gives the answer."""
    worker = Worker(one.around, [], False, runners=[one.runner])
    errands = Errands(one.around, worker, Limits(events=100, depth=20))

    async def ask(kind, **args):
        number = await one.store.requests.ask(kind, args, "ops", 1_000.0)
        await errands.step()
        return (await one.store.requests.get(number)).result

    return ask


async def test_what_fails_for_one_person_for_long_is_held_with_all_behind_it_and_others_go_on(one):
    await hold(one, "a", "a", "b", "a")
    assert await one.held() == [(100, "waiting", "down"), (101, "waiting", "behind"), (103, "waiting", "behind")]
    assert 0 < (await one.lanes())["a"] <= 30
    assert one.runner._member.window.open == 0
    await one.send("a", "c", first=104)
    await one.step()
    assert [number for number, *_ in await one.held()] == [100, 101, 103, 104]
    assert one.actor.done == [105]


async def test_a_held_lane_is_tried_in_order_and_is_gone_when_it_is_empty(one):
    await hold(one, "a", "a", "a")
    one.actor.moods = {100: ["ok"], 101: ["skip"]}
    await one.pass_time(40.0)
    assert (one.actor.done, await one.held(), await one.lanes()) == ([100, 102], [], {})
    fates = await one.fates()
    assert (fates["held"], fates["left:applied"], fates["left:skipped:not_today"]) == (3, 2, 1)
    await one.send("a", first=104)
    await one.step()
    assert one.actor.done[-1] == 104


async def test_what_comes_while_the_last_of_a_lane_is_tried_overtakes_nothing(one):
    await hold(one, "a", "a")
    one.actor.moods = {100: ["ok"], 101: ["ok"]}

    async def more_comes(number):
        if number == 101:
            one.actor.before = None
            await one.send("a", "a", first=102)
            await one.runner._fetch(one.cursor)

    one.actor.before = more_comes
    await one.pass_time(40.0)
    assert one.actor.done == [100, 101, 102, 103]
    assert (await one.held(), await one.lanes()) == ([], {})


async def test_what_comes_while_a_lane_fails_again_goes_behind_it(one):
    await hold(one, "a", "a")

    async def more_comes(number):
        one.actor.before = None
        await one.send("a", first=102)
        await one.runner._fetch(one.cursor)

    one.actor.before = more_comes
    await one.pass_time(40.0)
    assert [number for number, *_ in await one.held()] == [100, 101, 102]
    one.actor.moods = {}
    await one.pass_time(1_000.0)
    assert one.actor.done == [100, 101, 102]


async def test_a_held_lane_waits_longer_each_time_up_to_a_bound(tmp_path):
    async with acting(tmp_path, Moody(patience_s=2.0, longest_wait_s=100.0)) as one:
        await hold(one, "a")
        waits = []
        for _ in range(8):
            await one.pass_time((await one.lanes())["a"])
            waits.append(round((await one.lanes())["a"], 1))
        assert waits == sorted(waits) and waits[-1] == 100.0 and waits[0] < 30.0
        (held,) = await one.store.held.page()
        assert held.attempts > 8


async def test_held_lanes_survive_a_restart(tmp_path):
    clock = Clock()
    async with acting(tmp_path, Moody(patience_s=2.0), clock) as one:
        await hold(one, "a", "a")
        await one.send("a", first=102)
    async with acting(tmp_path, Moody(), clock) as one:
        await one.step()
        assert one.actor.done == []
        await one.pass_time(40.0)
        assert one.actor.done == [100, 101, 102]
        assert (await one.held(), await one.lanes()) == ([], {})


async def test_what_is_held_before_the_position_passed_it_is_not_acted_on_again(tmp_path):
    clock = Clock()
    async with acting(tmp_path, Moody(), clock) as one:
        one.actor.moods = {0: ["notyet"], 1: ["dead"]}
        await one.send("open", "a")
        await one.step()
        assert await one.position() == 0
    async with acting(tmp_path, Moody(), clock) as one:
        await one.step()
        assert one.actor.done == [0]
        assert await one.fates() == {"applied": 1, "held": 1}


async def test_what_left_held_before_the_position_passed_it_is_not_acted_on_again(tmp_path):
    clock = Clock()
    async with acting(tmp_path, Moody(), clock) as one:
        one.actor.moods = {0: ["notyet"], 1: ["dead"]}
        await one.send("open", "a")
        await one.step()
        (held,) = await one.store.held.page()
        await one.store.drop(held)
        assert await one.position() == 0
    async with acting(tmp_path, Moody(), clock) as one:
        await one.step()
        assert one.actor.done == [0]
        assert await one.fates() == {"applied": 1, "held": 1, "left:dropped": 1}
        assert await one.store.db.reading(lambda tx: tx.all("SELECT * FROM released")) == []


async def test_what_ended_before_one_that_is_held_is_not_put_behind_it_by_a_restart(tmp_path):
    clock = Clock()
    async with acting(tmp_path, Moody(patience_s=2.0), clock) as one:
        one.actor.moods = {99: ["notyet"], 109: ["retry"]}
        await one.send("open", "a", *WELL[:8], "a", first=99)
        await one.step()
        for n in range(10):
            await one.send("well", first=200 + n)
            await one.pass_time(1.0)
        assert await one.held() == [(109, "waiting", "down")]
        assert await one.position() == 0
    async with acting(tmp_path, Moody(), clock) as one:
        await one.step()
        await one.pass_time(40.0)
        assert [number for number in one.actor.done if number in (100, 109)] == [109]
        assert (await one.fates())["skipped:repeated"] == 1


async def test_one_that_dies_in_its_held_lane_stays_and_those_behind_it_pass(one):
    await hold(one, "a", "a")
    one.actor.moods = {100: ["dead"]}
    await one.pass_time(40.0)
    assert (one.actor.done, await one.held(), await one.lanes()) == ([101], [(100, "dead", "wrong")], {})


async def test_later_ones_wait_behind_a_dead_one_where_that_is_configured(tmp_path):
    async with acting(tmp_path, Moody(wait_behind_dead=True)) as one:
        one.actor.moods = {0: ["dead"]}
        await one.send("a", "a", "b")
        await one.step()
        assert one.actor.done == [2]
        await one.send("a", first=3)
        await one.pass_time(10_000.0)
        assert await one.held() == [(0, "dead", "wrong"), (1, "waiting", "behind"), (3, "waiting", "behind")]
        first, *_ = await one.store.held.page()
        await one.runner.drop(first)
        assert (one.actor.done, await one.held(), await one.lanes()) == ([2, 1, 3], [], {})


async def test_without_room_for_another_lane_it_waits_in_memory(tmp_path):
    async with acting(tmp_path, Moody(patience_s=2.0, max_held_lanes=1)) as one:
        await hold(one, "a")
        one.actor.moods[200] = ["retry"]
        await one.send("b", first=200)
        for n in range(10):
            await one.send("well", first=300 + n)
            await one.pass_time(5.0)
        assert [number for number, *_ in await one.held()] == [100]
        assert one.runner._member.window.open == 1


async def test_a_lane_that_crowds_the_window_is_held_at_once(tmp_path):
    async with acting(tmp_path, Moody(window=50, patience_s=1_000.0)) as one:
        await one.send(*WELL)
        await one.step()
        one.actor.moods = {100: ["retry"]}
        await one.send("a", first=100)
        await one.step()
        await one.send("well", *["a"] * 20, first=101)
        await one.step()
        await one.step()
        assert len(await one.held()) == 21
        assert one.actor.asked.count(100) == 1


async def test_a_dead_one_that_is_asked_for_is_tried_again_with_its_edited_bytes(one, ask):
    one.actor.moods = {0: ["dead"]}
    await one.send("a", "b")
    await one.step()
    (held,) = await one.store.held.page()
    assert await ask("held.retry", id=held.id) == "held:wrong"
    assert await one.held() == [(0, "dead", "wrong")]
    await one.store.held.edit(held.id, b'{"n": 7}')
    assert await ask("held.retry", id=held.id) == "applied"
    assert (one.actor.done, await one.held(), await one.lanes()) == ([1, 7], [], {})
    assert await ask("held.retry", id=held.id) == "left before"


async def test_one_that_waits_and_is_asked_for_is_tried_after_those_before_it(one, ask):
    await hold(one, "a", "a", "a")
    one.actor.moods = {}
    last = (await one.store.held.page())[-1]
    assert await ask("held.retry", id=last.id) == "applied"
    assert one.actor.done == [100, 101, 102]


async def test_one_behind_a_failing_one_still_waits(one, ask):
    await hold(one, "a", "a")
    last = (await one.store.held.page())[-1]
    assert await ask("held.retry", id=last.id) == "waits"
    assert len(await one.held()) == 2


async def test_a_dropped_one_has_left_and_lets_those_behind_it_go(one, ask):
    await hold(one, "a", "a")
    first, _ = await one.store.held.page()
    assert await ask("held.drop", id=first.id) == "dropped"
    assert (one.actor.done, await one.held(), await one.lanes()) == ([101], [], {})
    fates = await one.fates()
    assert (fates["left:dropped"], fates["left:applied"]) == (1, 1)


async def test_a_request_for_what_another_member_owns_waits(tmp_path):
    async with surroundings(tmp_path, Clock()) as around:
        runner = Runner(Moody(), around, Commits(around.store))
        errands = Errands(around, Worker(around, [], False, runners=[runner]), Limits(events=100, depth=20))
        async with acting_beside(around) as one:
            one.actor.moods = {0: ["dead"]}
            await one.send("a")
            await one.step()
        (held,) = await around.store.held.page()
        number = await around.store.requests.ask("held.retry", {"id": held.id}, "ops", 1.0)
        await errands.step()
        assert (await around.store.requests.get(number)).result is None


async def test_all_that_waits_in_the_held_lane_of_a_joining_actor_is_one_look(tmp_path):
    async with acting(tmp_path, Moody(joins=True, patience_s=2.0)) as one:
        await hold(one, "a")
        await one.send("a", "a", first=101)
        await one.step()
        one.actor.moods = {}
        await one.pass_time(40.0)
        assert one.actor.done == [102]
        fates = await one.fates()
        assert fates["left:applied"] == 1 and fates.get("left:skipped:joined", 0) + fates["skipped:joined"] >= 1


async def test_of_those_that_are_joined_one_that_matters_is_held(tmp_path):
    async with acting(tmp_path, Moody(joins=True, patience_s=2.0)) as one:
        one.actor.left_out = {101, 103}
        await hold(one, "a", "a")
        await one.send("a", "a", first=102)
        await one.step()
        assert [number for number, *_ in await one.held()] == [100, 102]
        one.actor.moods = {}
        await one.pass_time(40.0)
        assert one.actor.done == [102]
        assert (await one.fates())["skipped:nothing_for_it"] == 2


async def test_a_lane_does_not_wait_for_its_next_try_to_be_held_once_it_is_known_to_fail_alone(one):
    await one.send(*WELL)
    await one.step()
    one.actor.moods[100] = ["retry"]
    await one.send("a", first=100)
    for _ in range(12):  # the next try is some seconds away by then, and nobody else was there to tell
        await one.pass_time(1.0)
    tries = one.actor.asked.count(100)
    assert await one.held() == []
    await one.send("well", first=10)
    await one.step(2)
    assert (await one.held(), one.actor.asked.count(100)) == ([(100, "waiting", "down")], tries)


async def test_an_erased_delivery_leaves_its_lane_free(one):
    await hold(one, "a")
    await one.store.db.writing(lambda tx: tx.run("DELETE FROM held"))
    await one.pass_time(40.0)
    assert await one.lanes() == {}
    await one.send("a", first=200)
    await one.step()
    assert one.actor.done == [200]
