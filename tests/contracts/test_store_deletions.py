"""The contract of the store on requests to delete: from the tombstone over the erasure to the receipt."""

from stream.core.sheet import Sheet
from stream.store import Work
from stream.store.deletions import Deletions
from tests.contracts.stores import TRACK, Watched, claimed, dead, erase, forget, hold, link, put, tombstones, values

A, U, V, W = "anon:1", "user:1", "user:2", "user:3"


async def request(store, number="r1"):
    return next(deletion for deletion in await store.deletions.every() if deletion.id == number)


async def test_a_request_is_idempotent_and_goes_from_open_to_done(store):
    await forget(store, U, 5.0)
    assert await forget(store, U, 5.0) == []
    await store.deletions.note_ends("r1", {TRACK: 7})
    await store.deletions.note_ends("r1", {TRACK: 9})
    opened = await request(store)
    assert (opened.state, opened.ends, opened.subjects, opened.authority) == ("open", {TRACK: 7}, (U,), "segment")
    assert not await store.deletions.finish("r1", 6.0)
    await erase(store, "r1")
    assert [deletion.state for deletion in await store.deletions.every("open", "done")] == []
    assert await store.deletions.finish("r1", 6.0)
    done = await request(store)
    assert (done.state, done.finished, done.subjects, done.hash) == ("done", 6.0, (), store.people.hash(U))


async def test_a_link_to_a_deleted_user_opens_its_request_again(store):
    await forget(store, U, 5.0)
    await store.deletions.note_ends("r1", {TRACK: 7})
    await erase(store, "r1")
    await store.deletions.finish("r1", 6.0)
    marks = await link(store, (A, U, 1.0))
    opened = await request(store)
    assert (opened.state, opened.ends, opened.finished, opened.subjects) == ("open", None, None, (A,))
    assert A in {mark.subject for mark in marks}


async def test_a_request_that_is_opened_again_while_it_is_erased_stays_open(store):
    await forget(store, U, 5.0)
    await store.deletions.note_ends("r1", {TRACK: 7})
    await link(store, (A, U, 1.0))  # after the eraser looked, before it erases
    await erase(store, "r1")
    assert (await request(store)).state == "open"
    assert not await store.deletions.finish("r1", 6.0)


async def test_an_erasure_removes_rows_of_every_table_and_held_deliveries_and_counts_them(store):
    claims = await claimed(store)
    await store.register(["t", "t@2"])
    await put(store, claims, {("t", U): "1", ("t@2", A): "2", ("t", V): "3"})
    await hold(store, dead(U, 5.0, 0), dead(U, 5.1, 1), dead(A, 4.0, 2), dead(V, 4.0, 3))
    await link(store, (A, U, 1.0))
    await forget(store, U, 5.0)
    assert await erase(store, "r1") == 4
    assert await values(store, ("t", U), ("t@2", A), ("t", V)) == [None, None, "3"]
    assert [(held.subject, held.time) for held in await store.held.page()] == [(U, 5.1), (V, 4.0)]
    assert await store.positions.fates() == {"p": {"left:erased": 2}}
    assert (await request(store)).erased == 4


async def test_what_is_left_of_a_row_is_found_by_the_next_deletion(store):
    claims = await claimed(store)
    await store.register(["t"])
    await link(store, (A, U, 1.0))
    await put(store, claims, {("t", A): "1"})
    await forget(store, U, 5.0, "r1")
    await erase(store, "r1", left='"younger"')
    await store.deletions.finish("r1", 6.0)
    assert await values(store, ("t", A)) == ['"younger"']
    await forget(store, U, 9.0, "r2")
    await erase(store, "r2")
    assert await values(store, ("t", A)) == [None]


async def test_what_was_created_after_an_erasure_is_found_by_the_next_deletion(store):
    claims = await claimed(store)
    await store.register(["t"])
    await link(store, (A, U, 1.0))
    await forget(store, U, 5.0, "r1")
    await erase(store, "r1")
    await put(store, claims, {("t", A): "1"})
    await forget(store, U, 9.0, "r2")
    await erase(store, "r2")
    assert await values(store, ("t", A)) == [None]


async def test_rows_are_known_as_unerased_from_the_tombstone_to_the_erasure(store):
    claims = await claimed(store)
    await put(store, claims, {("t", U): "1"})
    await forget(store, U, 5.0)
    assert (await store.load([("t", U)])).unerased == {U}
    await store.deletions.note_ends("r1", {TRACK: 0})
    await erase(store, "r1")
    assert (await store.load([("t", U)])).unerased == set()
    await forget(store, U, 9.0, "r2")
    assert (await store.load([("t", U)])).unerased == {U}


async def test_two_people_of_deletes_with_the_same_id_are_a_request_each_however_often_they_come(store):
    for _ in range(2):
        await forget(store, U, 5.0, "m1")
        await forget(store, V, 6.0, "m1")
    assert await tombstones(store, U, V) == {U: 5.0, V: 6.0}
    first, second = await store.deletions.every()
    assert (first.id, first.subjects, second.subjects) == ("m1", (U,), (V,))
    assert second.id.startswith("m1#") and second.hash == store.people.hash(V)


async def test_two_people_of_deletes_with_the_same_id_in_one_batch_are_a_request_each(store):
    sheet = Sheet()
    for subject, time in ((U, 5.0), (V, 6.0), (U, 7.0)):  # the last one is a repeat of the first
        sheet.begin(time)
        sheet.forget(subject, time, "m1", "segment")
        sheet.keep()
    await store.commit(Work(processor="deletion", claims={}, changes=sheet.changes))
    assert await tombstones(store, U, V) == {U: 5.0, V: 6.0}
    assert len(await store.deletions.every()) == 2


async def test_the_eraser_s_look_reads_of_requests_to_erase_alone(store):
    for number, subject in enumerate((U, V, W)):
        await forget(store, subject, 5.0, f"r{number}")
    await store.deletions.note_ends("r0", {TRACK: 0})
    await erase(store, "r0")
    watched = Watched(store.db)
    deletions = Deletions(watched, store.people, store._linking, store.identifiers, store.confirmed)
    unfinished = await deletions.unfinished(asked_before=0.0)
    assert (unfinished.amount, unfinished.finishable, unfinished.overdue) == (3, ["r0"], {})
    assert [(one.id, one.subjects) for one in unfinished.open] == [("r1", (V,)), ("r2", (W,))]
    assert watched.read_rows == 6  # the amount, the erased one's id, two requests with a subject each
    for number in ("r1", "r2"):
        await store.deletions.note_ends(number, {TRACK: 0})
        await erase(store, number)
    for number in ("r0", "r1", "r2"):
        await store.deletions.finish(number, 6.0)
    watched.statements = 0
    assert (await deletions.unfinished(asked_before=9_999.0)).amount == 0
    assert watched.statements == 1
