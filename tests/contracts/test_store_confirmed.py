"""The contract of the store on what destinations were told, and on the lease to tell them."""

import asyncio

import pytest
from msgspec import structs

from stream.errors import NotYet
from stream.store.confirmed import Confirmed, Told
from tests.contracts.stores import Watched

VIP = Told(
    destination="crm",
    address="email:a@b.c",
    thing="list:vip",
    verb="set_membership",
    processor="audiences.crm",
    subject="user:1",
)
PROFILE = Told(
    destination="crm",
    address="email:a@b.c",
    thing="profile",
    verb="upsert_profile",
    processor="profiles.crm",
    subject="user:2",
)


async def take(store, rows, lease="one", now=0.0, until=10.0):
    return await store.db.writing(lambda tx: store.confirmed.take(tx, rows, lease, now, until))


async def confirm(store, values, lease="one", now=5.0):
    return await store.db.writing(lambda tx: store.confirmed.confirm(tx, lease, values, now))


async def extend(store, rows, until, lease="one"):
    return await store.db.writing(lambda tx: store.confirmed.extend(tx, lease, [row.key for row in rows], until))


async def doubt(store, *rows):
    await store.db.writing(lambda tx: store.confirmed.doubt(tx, rows))


async def about(store, destination="crm", subjects=(), addresses=()):
    return await store.db.reading(lambda tx: store.confirmed.about(tx, destination, subjects, addresses))


async def row(store, key):
    [found] = [told for told in await about(store, key[0], addresses=[key[1]]) if told.key == key]
    return found


async def told(store, *rows, value="true"):
    """Has each of these told, one after another."""
    for one in rows:
        await take(store, [one], "fixture")
        assert await confirm(store, {one.key: value}, "fixture") == set()


async def test_what_is_sent_is_unknown_from_the_taking_of_the_lease_to_its_confirmation(store):
    await told(store, VIP)
    assert await take(store, [VIP]) == set()
    found = await row(store, VIP.key)
    assert (found.value, found.told, found.lease, found.until) == (None, 5.0, "one", 10.0)
    assert await confirm(store, {VIP.key: "false"}, now=7.0) == set()
    found = await row(store, VIP.key)
    assert (found.value, found.told, found.lease, found.until) == ("false", 7.0, None, None)
    assert (found.verb, found.processor, found.subject) == ("set_membership", "audiences.crm", "user:1")


async def test_it_is_unknown_durably_before_anything_is_sent(kind):
    async with kind.open() as store:
        await told(store, VIP)
        await take(store, [VIP])
    async with kind.open() as store:
        assert (await row(store, VIP.key)).value is None


async def test_a_lease_is_exclusive_and_taken_on_all_rows_or_on_none(store):
    await take(store, [VIP], until=10.0)
    with pytest.raises(NotYet) as refused:
        await take(store, [PROFILE, VIP], "two", now=9.5)
    assert (refused.value.reason, refused.value.after) == ("leased", 0.5)
    with pytest.raises(NotYet) as refused:
        await take(store, [VIP], "two", now=0.0)
    assert refused.value.after == 1.0  # it may end long before its time
    assert [(found.key, found.lease) for found in await about(store, addresses=[VIP.address])] == [(VIP.key, "one")]
    await confirm(store, {VIP.key: "true"})
    assert await take(store, [PROFILE, VIP], "two", now=9.5) == set()


async def test_whoever_has_a_lease_may_take_it_again(store):
    await take(store, [VIP])
    assert await take(store, [VIP, PROFILE], until=20.0) == set()
    assert {found.until for found in await about(store, addresses=[VIP.address])} == {20.0}


async def test_an_expired_lease_is_taken_over_and_reported(store):
    await take(store, [VIP], until=10.0)
    assert await take(store, [VIP, PROFILE], "two", now=10.0, until=20.0) == {VIP.key}
    assert (await row(store, VIP.key)).lease == "two"


async def test_confirming_under_a_lost_lease_changes_nothing_and_says_so(store):
    await take(store, [VIP, PROFILE], until=10.0)
    await take(store, [VIP], "two", now=10.0, until=20.0)
    assert await confirm(store, {VIP.key: "true", PROFILE.key: "{}"}) == {VIP.key}
    assert ((await row(store, VIP.key)).value, (await row(store, VIP.key)).lease) == (None, "two")
    assert (await row(store, PROFILE.key)).value == "{}"
    assert await confirm(store, {VIP.key: "false"}, "two") == set()
    assert await confirm(store, {VIP.key: "true"}) == {VIP.key}
    assert (await row(store, VIP.key)).value == "false"


async def test_what_was_taken_over_can_be_confirmed_as_unknown(store):
    await told(store, VIP)
    await take(store, [VIP])
    assert await confirm(store, {VIP.key: None}, now=9.0) == set()
    found = await row(store, VIP.key)
    assert (found.value, found.told, found.lease) == (None, 5.0, None)


async def test_a_lease_is_extended_as_long_as_none_of_it_is_lost(store):
    await take(store, [VIP, PROFILE], until=10.0)
    assert await extend(store, [VIP, PROFILE], 30.0)
    with pytest.raises(NotYet):
        await take(store, [VIP], "two", now=29.0)
    await take(store, [VIP], "two", now=30.0, until=40.0)
    assert not await extend(store, [VIP, PROFILE], 50.0)
    assert [(await row(store, one.key)).until for one in (VIP, PROFILE)] == [40.0, 30.0]


async def test_a_doubt_clears_the_lease_so_that_the_other_s_confirmation_is_lost_too(store):
    await take(store, [VIP], until=10.0)
    await take(store, [VIP], "two", now=10.0, until=20.0)
    await doubt(store, VIP)  # the first one wakes up, and has sent
    assert await confirm(store, {VIP.key: "false"}, "two") == {VIP.key}
    found = await row(store, VIP.key)
    assert (found.value, found.lease, found.until) == (None, None, None)


async def test_a_doubt_about_what_was_deleted_meanwhile_is_remembered(store):
    await take(store, [VIP])
    assert await store.db.writing(lambda tx: store.confirmed.deleted(tx, "crm", [VIP.address])) == {"user:1"}
    assert await confirm(store, {VIP.key: "true"}) == {VIP.key}
    await doubt(store, VIP)
    assert await row(store, VIP.key) == VIP


async def test_what_was_told_is_found_by_subject_and_by_address_at_its_destination_alone(store):
    there = structs.replace(VIP, destination="mail")
    other = structs.replace(VIP, address="email:x@y.z")
    await told(store, VIP, PROFILE, there, other)
    assert [f.key for f in await about(store, subjects=["user:1"])] == [VIP.key, other.key]
    assert [f.key for f in await about(store, addresses=[VIP.address])] == [VIP.key, PROFILE.key]
    both = await about(store, subjects=["user:1", "user:3"], addresses=[VIP.address])
    assert [f.key for f in both] == [VIP.key, PROFILE.key, other.key]
    assert await about(store) == []
    found = await store.db.reading(lambda tx: store.confirmed.anywhere(tx, ["user:2"], [VIP.address], ["mail", "push"]))
    assert [f.key for f in found] == [PROFILE.key, there.key]


async def test_what_was_told_about_deleted_addresses_is_gone_at_that_destination_alone(store):
    there = structs.replace(VIP, destination="mail")
    await told(store, VIP, PROFILE, there)

    async def write(tx):
        assert await store.confirmed.deleted(tx, "crm", [VIP.address, "email:x@y.z"]) == {"user:1", "user:2"}
        assert await store.confirmed.deleted(tx, "crm", [VIP.address]) == set()

    await store.db.writing(write)
    assert await about(store, subjects=["user:1", "user:2"]) == []
    assert len(await about(store, "mail", subjects=["user:1"])) == 1


@pytest.mark.parametrize("there", [True, False])
async def test_of_two_that_take_a_lease_at_the_same_time_one_gets_it_and_the_other_is_told(kind, there):
    async with kind.open() as one, kind.open() as other:
        if there:
            await doubt(one, VIP, PROFILE)
        both = [
            asyncio.create_task(
                store.db.writing(
                    lambda tx, store=store, lease=lease: store.confirmed.take(tx, [VIP, PROFILE], lease, 1.0, 9.0),
                    beside=True,
                )
            )
            for store, lease in ((one, "one"), (other, "two"))
        ]
        done = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(found).__name__ for found in done) == ["NotYet", "set"]
        winner = "one" if done[0] == set() else "two"
        assert {row.lease for row in await about(one, addresses=[VIP.address, PROFILE.address])} == {winner}


@pytest.mark.slow
async def test_ten_thousand_rows_are_a_few_statements(store):
    watched = Watched(store.db)
    confirmed = Confirmed(watched)
    rows = [structs.replace(VIP, address=f"email:{n}@b.c", subject=f"user:{n}") for n in range(10_000)]
    keys = [row.key for row in rows]

    async def write(tx):
        await confirmed.take(tx, rows, "one", 0.0, 10.0)
        assert await confirmed.extend(tx, "one", keys, 20.0)
        assert await confirmed.confirm(tx, "one", dict.fromkeys(keys, "true"), 5.0) == set()
        found = await confirmed.about(tx, "crm", [row.subject for row in rows], [row.address for row in rows])
        assert [one.value for one in found] == ["true"] * 10_000
        await confirmed.doubt(tx, rows)
        await confirmed.deleted(tx, "crm", [row.address for row in rows])

    await watched.writing(write)
    assert watched.statements <= 14


async def test_until_when_something_may_still_be_carried_out_is_kept_and_ends_with_what_is_sent_next(store):
    await take(store, [VIP])
    await store.db.writing(lambda tx: store.confirmed.confirm(tx, "one", {VIP.key: None}, 5.0, {VIP.key: 15.0}))
    (found,) = await about(store, subjects=["user:1"])
    assert (found.value, found.lease, found.late) == (None, None, 15.0)
    assert await take(store, [VIP], "two", 6.0, 16.0) == set(), "nobody's lease keeps others from sending"
    (taken,) = await about(store, subjects=["user:1"])
    assert taken.late is None, "that is the lease's time"
    assert await store.db.writing(lambda tx: store.confirmed.put_back(tx, "two", {VIP.key: found})) == set()
    assert await about(store, subjects=["user:1"]) == [found]
    await take(store, [VIP], "three", 7.0, 17.0)
    await confirm(store, {VIP.key: "true"}, "three", 8.0)
    (found,) = await about(store, subjects=["user:1"])
    assert (found.value, found.late) == ("true", None)
