"""The contract of the store on a state that was put back from a backup: nothing of after it is taken for known."""

import pytest

from stream.core.sheet import Changes
from stream.errors import ClaimLost
from stream.store.confirmed import Told
from stream.store.restoring import REASON, restored
from tests.contracts.stores import TRACK, claimed, dead, hold, put

TOLD = Told(
    destination="crm",
    address="email:a@b.c",
    thing="list:vip",
    verb="set_membership",
    processor="audiences.crm",
    subject="user:1",
)


async def ready(store):
    return await restored(store.db, ["signups"], ["audiences.crm"], "me@here", 100.0)


async def told(store):
    async def write(tx):
        await store.confirmed.take(tx, [TOLD], "lease-1", 10.0, 20.0)
        await store.confirmed.confirm(tx, "lease-1", {TOLD.key: "true"}, 11.0)

    await store.db.writing(write)


async def test_what_a_destination_was_told_is_unknown_and_nobody_s_to_tell(store):
    await told(store)
    found = await ready(store)
    (row,) = await store.db.reading(lambda tx: store.confirmed.about(tx, "crm", ["user:1"], []))
    assert (found.unknown, row.value, row.lease, row.until, row.told) == (1, None, None, None, 11.0)


async def test_reactors_stay_stopped_over_a_start_until_they_are_resumed(store):
    assert (await ready(store)).stopped == ["signups"]
    await store.positions.forgive("signups")
    assert await store.positions.stops() == {"signups": REASON}
    assert await store.positions.resume("signups")


async def test_every_sync_walks_through_everybody_once_however_far_its_last_walk_was(store):
    first = await store.walks.ask("audiences.crm", "me", False, 1.0)
    walk = await store.walks.get(first)
    assert walk is not None
    await ready(store)
    await ready(store)
    again, _ = await store.walks.next("audiences.crm")
    assert again is not None and (again.after, again.seen, again.who) == ("", 0, "me@here")


async def test_a_member_of_before_the_backup_was_put_back_writes_nothing(store):
    before = await claimed(store)
    # Its claim was given out after the backup; the state that was put back gives out the same number again.
    then = {TRACK: before[TRACK] + 1}
    await ready(store)
    now = await claimed(store)
    assert now[TRACK] > then[TRACK]
    with pytest.raises(ClaimLost):
        await put(store, then, {("traits", "user:1"): "{}"})


async def test_revisions_that_were_published_since_the_backup_are_not_given_out_again(store):
    claims = await claimed(store)
    changes = Changes(marks={("user:1", "traits"): None})
    (before,) = await put(store, claims, {}, changes=changes)
    await ready(store)
    (after,) = await put(store, await claimed(store), {}, changes=changes)
    assert after.revision > before.revision + 1_000_000


async def test_what_commands_asked_for_is_ended_but_a_request_to_forget_is_carried_out(store):
    await store.requests.ask("held.retry", {"id": 1}, "me", 1.0)
    await store.requests.ask("forget", {"userId": "1"}, "me", 1.0)
    assert (await ready(store)).requests == 1
    assert [request.kind for request in await store.requests.open()] == ["forget"]


async def test_deliveries_that_wait_are_counted_since_they_may_have_been_acted_on(store):
    await hold(store, dead(processor="signups", state="waiting", lane="1"))
    assert (await ready(store)).held == 1
