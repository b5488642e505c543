"""The contract of the store on what processes tell each other: whose duty something is, and what waits in a spill."""

import asyncio

from stream.store.duties import LENGTH_S, Duties
from stream.store.positions import Passed
from tests.contracts.stores import TRACK, Watched, claimed


async def test_a_duty_is_one_process_own_until_it_is_silent_for_too_long(store):
    one, other = Duties(store.db), Duties(store.db)
    assert await one.mine("erasing", 100.0)
    assert await other.mine("purging", 100.0), "another duty is another matter"
    assert not await other.mine("erasing", 100.0 + LENGTH_S - 1)
    assert await one.mine("erasing", 100.0 + LENGTH_S - 1), "it is prolonged by asking"
    assert not await other.mine("erasing", 100.0 + LENGTH_S + 1)
    assert await other.mine("erasing", 100.0 + 2 * LENGTH_S)
    assert not await one.mine("erasing", 100.0 + 2 * LENGTH_S + 1), "it was frozen, and another one has it"


async def test_of_many_that_ask_together_one_has_it(kind):
    async with kind.open() as first, kind.open() as second:
        many = [Duties(store.db) for store in (first, second) for _ in range(5)]
        assert sum(await asyncio.gather(*[one.mine("erasing", 100.0) for one in many])) == 1


async def test_who_leaves_lets_another_one_have_it_at_once_and_keeps_nothing_in_memory(store):
    one, other = Duties(store.db), Duties(store.db)
    assert await one.mine("erasing", 100.0)
    await one.leave()
    assert await other.mine("erasing", 100.0)
    assert not await one.mine("erasing", 100.0)


async def test_who_is_alone_inherits_from_whoever_was_killed(store):
    assert await Duties(store.db).mine("erasing", 100.0)
    await store.duties.inherit()
    assert await store.duties.mine("erasing", 100.0)


async def test_a_clock_that_was_wrong_keeps_a_duty_from_nobody(store):
    assert await Duties(store.db).mine("erasing", 9_000.0)
    assert await store.duties.mine("erasing", 100.0)


async def test_whoever_has_a_duty_asks_the_store_only_now_and_then(store):
    db = Watched(store.db)
    duties = Duties(db)
    assert all([await duties.mine("erasing", 100.0 + n / 10) for n in range(70)])
    assert db.statements == 2


async def test_what_no_processor_can_have_seen_since_it_waits_in_a_spill_counts_as_lag(store):
    await claimed(store, "p", TRACK)

    async def passed(time):
        await store.db.writing(lambda tx: store.positions.catch_up(tx, "p", Passed(time, {TRACK: 0}), time))

    async def standing():
        return (await store.db.reading(store.positions.standing))["p"]

    await passed(50.0)
    await store.spilled.keep("one", 40.0, 50.0)
    await store.spilled.keep("other", 30.0, 50.0)
    assert await standing() == 30.0
    assert await store.spilled.all() == {"one": 40.0, "other": 30.0}
    await store.spilled.keep("other", None, 55.0)
    assert await store.spilled.all() == {"one": 40.0}
    assert await standing() == 30.0, "it is in the log, and nobody has dealt with it"
    await passed(56.0)
    assert await standing() == 40.0
    await store.spilled.keep("one", 52.0, 57.0)  # as a new process found it
    await store.spilled.keep("one", None, 58.0)
    await passed(57.0)
    assert await standing() == 40.0
    await passed(59.0)
    assert await standing() == 59.0
    await store.spilled.keep("one", 52.0, 60.0)
    assert await standing() == 52.0
    await store.spilled.forget("one")
    assert await standing() == 59.0
    await store.spilled.keep("one", None, 60.0)
    assert await store.spilled.all() == {}


async def test_a_processor_has_caught_up_once_all_of_its_partitions_have_and_never_goes_back(store):
    claims = await claimed(store, "p", TRACK)

    async def noted(time, end, now):
        passed = Passed(time, {TRACK: end})
        return await store.db.writing(lambda tx: store.positions.catch_up(tx, "p", passed, now))

    assert claims
    assert await noted(50.0, 0, 50.0)
    assert not await noted(60.0, 1, 60.0), "a member that is elsewhere, or nobody, has it before it"
    assert await noted(40.0, 0, 60.0)
    assert await store.db.reading(store.positions.standing) == {"p": 50.0}
    assert await noted(30.0, 0, 35.0), "what was noted lies ahead: a clock was wrong"
    assert await store.db.reading(store.positions.standing) == {"p": 30.0}
