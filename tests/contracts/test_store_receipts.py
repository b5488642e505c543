"""The contract of the store on deletions at destinations: which addresses are open there, and what was answered."""

import pytest
from msgspec import json, structs

from stream.core.register import Register
from stream.core.sheet import Changes
from stream.facts import Profile
from stream.store import Work
from stream.store.confirmed import Told
from stream.store.deletions import UNSUPPORTED
from tests.contracts.stores import TRACK, claimed, dead, erase, forget, hold, link, put

A, U, V = "anon:9", "user:1", "user:2"
ANN, BOB = "email:ann@b.c", "email:bob@b.c"
TOLD = Told(
    destination="crm", address=ANN, thing="list:vip", verb="set_membership", processor="audiences.crm", subject=U
)


@pytest.fixture
def store(store):
    store.deletions.destinations = {"crm": ("email",), "ads": ("user_id", "anonymous_id"), "mail": ("email",)}
    store.deletions.deletable = {"crm", "ads"}
    return store


async def told(store, *rows):
    await store.db.writing(lambda tx: store.confirmed.doubt(tx, rows))


async def keys(store, destination, *addresses):
    return [
        one.key for one in await store.db.reading(lambda tx: store.confirmed.about(tx, destination, [U, V], addresses))
    ]


async def open_at(store, destination, *subjects):
    return await store.db.reading(lambda tx: store.deletions.open_at(tx, destination, subjects or [U]))


async def settle(store, destination, *addresses, outcome="deleted", now=3_000.0):
    return await store.db.writing(lambda tx: store.deletions.settled(tx, destination, addresses, outcome, now))


async def named(store, *addresses):
    """Names addresses of deleted subjects, as a refused event does; who is marked."""
    changes = Changes(addresses=dict.fromkeys(addresses))
    marks = await store.commit(Work(processor="p", claims={}, changes=changes, now=1_500.0))
    return {(mark.subject, mark.facet) for mark in marks}


async def profile(store, subject, *identifiers):
    """A profile that names these, as `profiles` writes it."""
    row = Profile(1.0, 1.0, identifiers={one: Register(True, 1.0, 1.0, "m") for one in identifiers})
    changes = Changes(identified={subject: identifiers})
    await store.register(["profiles"])
    await put(store, await claimed(store), {("profiles", subject): json.encode(row).decode()}, changes=changes)


async def erased(store, request="r1", left=None):
    await store.deletions.note_ends(request, {TRACK: 0})
    await erase(store, request, left)


async def request(store, number="r1"):
    return next(deletion for deletion in await store.deletions.every() if deletion.id == number)


async def receipts(store, number="r1"):
    hashes = {store.people.hash(address): address for address in (ANN, BOB, "user_id:1", "anonymous_id:9")}
    return {(one.destination, hashes[one.hash]): one.outcome for one in (await request(store, number)).receipts}


async def test_the_erasure_asks_every_destination_for_the_addresses_that_it_was_told_and_that_facts_name(store):
    await profile(store, U, ANN)
    await told(store, structs.replace(TOLD, address="pendo:7"), structs.replace(TOLD, subject=V, address=BOB))
    await link(store, (A, U, 1.0))
    await forget(store, U, 5.0)
    assert await open_at(store, "crm") == ()
    await erased(store)
    assert (await request(store)).outstanding == {"ads": ("anonymous_id:9", "user_id:1"), "crm": (ANN, "pendo:7")}
    assert await open_at(store, "crm") == await open_at(store, "crm", A) == (ANN, "pendo:7")
    assert await open_at(store, "crm", V) == await open_at(store, "mail") == ()
    assert await receipts(store) == {}  # mail was never told


async def test_what_destinations_were_told_outlives_the_erasure(store):
    await told(store, TOLD)
    await forget(store, U, 5.0)
    await erased(store)
    assert await keys(store, "crm") == [TOLD.key]


async def test_a_destination_that_was_told_and_cannot_delete_is_unsupported_at_once(store):
    await profile(store, U, ANN)
    shared, gone = structs.replace(TOLD, destination="mail", subject=V), structs.replace(TOLD, destination="gone")
    await told(store, shared, gone)
    await forget(store, U, 5.0)
    await erased(store)
    assert await receipts(store) == {("mail", ANN): UNSUPPORTED, ("gone", ANN): UNSUPPORTED}
    assert await keys(store, "mail") == [shared.key]  # it still knows
    await settle(store, "crm", ANN)
    await settle(store, "ads", "user_id:1")
    assert await store.deletions.finish("r1", 9.0)


async def test_a_request_is_done_once_all_destinations_are_and_then_only_receipts_are_left(store):
    await profile(store, U, ANN)
    await told(store, TOLD, structs.replace(TOLD, thing="profile", subject=V))
    await forget(store, U, 5.0)
    await erased(store)
    assert not await store.deletions.finish("r1", 9.0)
    assert await settle(store, "crm", ANN) == {U, V}
    assert await keys(store, "crm", ANN) == []
    assert not await store.deletions.finish("r1", 9.0)
    assert (await store.deletions.unfinished(0.0)).finishable == []
    assert await settle(store, "ads", "user_id:1") == {U}
    assert (await store.deletions.unfinished(0.0)).finishable == ["r1"]
    assert await store.deletions.finish("r1", 9.0)
    done = await request(store)
    assert (done.state, done.subjects, done.outstanding) == ("done", (), {})
    assert await receipts(store) == {("crm", ANN): "deleted", ("ads", "user_id:1"): "deleted"}
    assert {one.time for one in done.receipts} == {3_000.0}
    assert (
        await store.db.reading(
            lambda tx: tx.all("SELECT 1 FROM deletion_addresses UNION ALL SELECT 1 FROM identifiers")
        )
        == []
    )


async def test_on_whose_behalf_a_deleted_address_was_told_is_named_to_be_told_anew(store):
    await profile(store, U, ANN)
    await profile(store, V, ANN)
    await told(store, structs.replace(TOLD, subject=V))
    await forget(store, U, 5.0)
    await erased(store)
    assert await settle(store, "crm", ANN) == {U, V}


async def test_a_destination_that_turns_out_unable_is_not_asked_again_and_still_knows_what_it_was_told(store):
    await told(store, TOLD)
    await forget(store, U, 5.0)
    await erased(store)
    assert await settle(store, "crm", ANN, outcome=UNSUPPORTED) == {U}
    assert (await receipts(store))["crm", ANN] == UNSUPPORTED
    assert await open_at(store, "crm") == ()
    assert await keys(store, "crm") == [TOLD.key]


async def test_what_is_open_where_nobody_deletes_any_more_holds_up_no_request(store):
    await told(store, TOLD)
    await forget(store, U, 5.0)
    await erased(store)
    store.deletions.deletable = set()
    assert (await store.deletions.unfinished(0.0)).finishable == ["r1"]
    assert await store.deletions.finish("r1", 9.0)
    assert await receipts(store) == {("crm", ANN): UNSUPPORTED, ("ads", "user_id:1"): UNSUPPORTED}


async def test_two_requests_for_one_address_are_settled_together(store):
    await profile(store, U, ANN)
    await told(store, TOLD, structs.replace(TOLD, thing="profile", subject=V))
    await forget(store, U, 5.0, "r1")
    await forget(store, V, 6.0, "r2")
    for number in ("r1", "r2"):
        await erased(store, number)
    await settle(store, "crm", ANN)
    for number in ("r1", "r2"):
        assert (await receipts(store, number))["crm", ANN] == "deleted"


async def test_an_address_named_later_goes_to_the_open_request_and_marks_whom_it_is_of(store):
    await told(store, structs.replace(TOLD, destination="mail", address=BOB, subject=V))
    await forget(store, U, 5.0)
    await erased(store)
    assert await named(store, (U, BOB), (V, ANN)) == {(U, "deletion")}
    assert await open_at(store, "crm") == (BOB,)
    assert await receipts(store) == {("mail", BOB): UNSUPPORTED}
    assert await named(store, (U, BOB)) == set()
    await settle(store, "crm", BOB)
    await settle(store, "ads", "user_id:1")
    await store.deletions.finish("r1", 9.0)
    assert await named(store, (U, ANN)) == set()  # done is done
    assert (await request(store)).outstanding == {}


async def test_a_link_that_extends_the_deletion_reaches_the_addresses_of_the_other(store):
    await told(store, structs.replace(TOLD, subject=A))
    await forget(store, U, 5.0)
    await erased(store)
    assert await open_at(store, "crm") == ()
    await link(store, (A, U, 1.0))
    await erased(store)
    assert await open_at(store, "crm") == await open_at(store, "crm", A) == (ANN,)


async def test_whoever_waits_for_a_destination_is_found_though_nothing_else_is_left(store):
    for number, subject in enumerate((U, V)):
        await told(store, structs.replace(TOLD, subject=subject, address=(ANN, BOB)[number]))
        await forget(store, subject, 5.0, f"r{number}")
        await erased(store, f"r{number}")

    async def read(tx):
        assert await store.deletions.waiting_at(tx, "crm", limit=1) == [U]
        assert await store.deletions.waiting_at(tx, "crm", after=U) == [V]
        assert await store.deletions.waiting_at(tx, "mail") == []

    await store.db.reading(read)
    await settle(store, "crm", ANN)
    assert await store.db.reading(lambda tx: store.deletions.waiting_at(tx, "crm")) == [V]


async def test_what_is_unfinished_for_long_is_overdue_at_the_destinations_that_have_not_deleted(store):
    await told(store, TOLD)
    await forget(store, U, 5.0, "r1")
    await forget(store, V, 5.0, "r2")
    await erased(store)
    await settle(store, "ads", "user_id:1")
    assert (await store.deletions.unfinished(999.0)).overdue == {}
    assert (await store.deletions.unfinished(1_000.0)).overdue == {"r1": ("crm",), "r2": ()}


async def test_an_erasure_leaves_the_identifiers_that_are_younger(store):
    await profile(store, U, ANN, BOB)
    await forget(store, U, 5.0)
    younger = Profile(7.0, 7.0, identifiers={BOB: Register(True, 7.0, 7.0, "m")})
    await erased(store, left=json.encode(younger).decode())
    assert await store.db.reading(lambda tx: store.identifiers.of(tx, [U])) == {U: {BOB}}


async def test_a_lane_goes_with_the_last_delivery_that_waits_in_it(store):
    def waiting(subject, offset):
        return dead(subject, 5.0, offset, lane=subject, state="waiting")

    await hold(store, waiting(U, 0), dead(V, 5.0, 1, lane="shared"), waiting(V, 2), dead(U, 9.0, 3, lane=U))
    await hold(store, structs.replace(waiting(A, 4), lane="shared"))
    await store.db.writing(
        lambda tx: tx.many(
            "INSERT INTO lanes (processor, lane, topic, part, attempts, due, reason, since)"
            " VALUES ('p', ?, 'segment.track', 0, 1, 9.0, 'why', 1.0)",
            [(U,), (V,), ("shared",)],
        )
    )
    for number, subject in enumerate((U, V)):
        await forget(store, subject, 5.0, f"r{number}")
        await erased(store, f"r{number}")

    async def read(tx):
        assert await tx.all("SELECT lane FROM lanes") == [("shared",)]
        assert await tx.all("SELECT subject, time FROM held ORDER BY id") == [(U, 9.0), (A, 5.0)]

    await store.db.reading(read)
