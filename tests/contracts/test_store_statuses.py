"""The contract of the store on statuses: what is said is seen by others, and not written without need."""

import pytest

from stream.store.statuses import Said, Status, Statuses
from tests.contracts.stores import KINDS, Watched


@pytest.fixture(params=KINDS)
async def store(request, tmp_path):
    async with KINDS[request.param](tmp_path).open() as store:
        yield store


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
