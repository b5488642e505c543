"""The contract of the store on statuses: what is said is seen by others, and not written without need."""

from stream.store.statuses import Said, Status, Statuses
from tests.contracts.stores import Watched


async def test_the_last_status_of_each_is_read_back(store):
    down = Status(broken=1.0, probe=2.5, oldest=0.5)
    await store.statuses.keep({"a": Status(), "b": down}, 10.0)
    await store.statuses.keep({"a": down, "b": down}, 11.0)
    assert await Statuses(store.db).all() == {"a": Said(down, 11.0), "b": Said(down, 10.0)}


async def test_what_has_not_changed_is_written_every_five_seconds_only(store):
    db = Watched(store.db)
    statuses = Statuses(db)
    times = []
    for now in range(12):
        await statuses.keep({"a": Status()}, float(now))
        times.append((await store.statuses.all())["a"].time)
    assert times == [0.0] * 5 + [5.0] * 5 + [10.0] * 2
    assert db.statements == 3


async def test_members_of_one_processor_do_not_overwrite_each_other_and_the_worst_is_said(store):
    down = Status(broken=1.0, probe=2.5, oldest=0.5)
    await Statuses(store.db).keep({"a": down}, 10.0)
    await Statuses(store.db).keep({"a": Status(oldest=9.0)}, 12.0)
    assert await store.statuses.all() == {"a": Said(down, 12.0)}


async def test_a_member_that_is_not_heard_of_any_more_does_not_count_and_is_forgotten_in_the_end(store):
    await Statuses(store.db).keep({"a": Status(broken=1.0, probe=2.5)}, 10.0)
    await store.statuses.keep({"a": Status()}, 21.0)
    assert await store.statuses.all() == {"a": Said(Status(), 21.0)}
    await store.statuses.forget(10.0 + 86_401.0)
    found = await store.db.reading(lambda tx: tx.all("SELECT time FROM statuses"))
    assert [time for (time,) in found] == [21.0]
