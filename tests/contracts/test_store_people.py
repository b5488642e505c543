"""The contract of the store on people: links, who is one person, tombstones, requests to delete, erasure."""

import itertools

import pytest

from stream.core.sheet import Changes
from stream.message import Partition
from stream.store import Work
from tests.contracts.stores import (
    KINDS,
    TRACK,
    claimed,
    components,
    dead,
    erase,
    forget,
    hold,
    link,
    put,
    tombstones,
    values,
)

A, B, K = "anon:1", "anon:2", "anon:kiosk"
U, V, W = "user:1", "user:2", "user:3"


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    return KINDS[request.param](tmp_path)


@pytest.fixture
async def store(kind):
    async with kind.open(max_links=2) as store:
        yield store


@pytest.fixture
async def fresh(kind):
    """Opens stores one after another, each empty."""
    folders = itertools.count()

    def another(**identity):
        folder = kind.path.parent / str(next(folders))
        folder.mkdir()
        return type(kind)(folder).open(**identity)

    return another


async def pairs(store):
    async with store.db.read() as tx:
        found = await tx.all("SELECT subject, other, first, last FROM links")
    return {(subject, other): (first, last) for subject, other, first, last in found}


async def request(store, number="r1"):
    return next(deletion for deletion in await store.deletions.every() if deletion.id == number)


async def test_a_pair_keeps_its_first_and_last_time_in_any_order(fresh):
    for times in itertools.permutations([3.0, 1.0, 2.0]):
        async with fresh() as store:
            await link(store, *[(A, U, time) for time in times])
            assert await pairs(store) == {(A, U): (1.0, 3.0)}


async def test_an_anonymous_subject_belongs_to_the_earliest_user_in_any_order(fresh):
    for order in itertools.permutations([(A, V, 1.0), (A, U, 2.0), (A, W, 3.0), (B, U, 1.0)]):
        async with fresh() as store:
            await link(store, *order)
            assert await components(store, A, U, W) == {A: (A, V), U: (B, U), W: (W,)}


async def test_of_users_seen_at_the_same_time_the_smaller_owns(store):
    await link(store, (A, V, 1.0), (A, U, 1.0))
    assert await components(store, A) == {A: (A, U)}


async def test_a_subject_with_more_links_than_may_count_links_nobody_and_stays_bounded(fresh):
    for order in itertools.permutations([(K, f"user:{n}", float(n)) for n in range(1, 5)]):
        async with fresh(max_links=2) as store:
            await link(store, *order)
            assert await components(store, K, "user:1") == {K: (K,), "user:1": ("user:1",)}
            assert sorted(other for _, other in await pairs(store)) == ["user:1", "user:2", "user:3"]


async def test_a_user_with_more_anonymous_subjects_than_may_count_stands_alone_and_all_are_marked(store):
    await link(store, ("anon:1", U, 1.0), ("anon:2", U, 2.0))
    assert await components(store, U) == {U: ("anon:1", "anon:2", U)}
    marks = await link(store, ("anon:3", U, 3.0))
    assert await components(store, U, "anon:1") == {U: (U,), "anon:1": ("anon:1",)}
    assert {mark.subject for mark in marks} == {"anon:1", "anon:2", "anon:3", U}


async def test_a_moved_link_marks_both_people_and_a_repeated_one_nobody(store):
    assert {mark.subject for mark in await link(store, (A, U, 5.0))} == {A, U}
    assert await link(store, (A, U, 6.0)) == []
    marks = await link(store, (A, V, 3.0))
    assert {(mark.subject, mark.facet) for mark in marks} == {(A, "identity"), (U, "identity"), (V, "identity")}


async def test_identifiers_that_stand_for_nobody_never_link(store):
    await link(store, (A, "user:null", 1.0), ("anon:-1", U, 1.0))
    assert await components(store, A, U) == {A: (A,), U: (U,)}


async def test_aliases_are_one_person_through_each_other_and_rings_end(store):
    await link(store, (V, U, 1.0), (A, V, 2.0), (U, V, 3.0))
    assert await components(store, A, U) == {A: (A, U, V), U: (A, U, V)}


@pytest.mark.parametrize("spaces", [("", "s/"), ("s/", "")])
async def test_the_same_id_in_another_space_is_somebody_else(store, spaces):
    await link(store, *[(f"{space}anon:1", f"{space}user:1", 1.0) for space in spaces])
    await forget(store, f"{spaces[0]}user:1", 5.0)
    assert await tombstones(store, "user:1", "s/user:1", "anon:1", "s/anon:1") == {
        f"{spaces[0]}user:1": 5.0,
        f"{spaces[0]}anon:1": 5.0,
    }


@pytest.mark.parametrize("first", ["link", "delete"])
async def test_a_tombstone_spreads_from_a_user_to_whoever_was_seen_as_it_and_not_back(store, first):
    steps = {"link": lambda: link(store, (A, U, 1.0), (A, V, 2.0), (B, V, 1.0)), "delete": lambda: forget(store, U, 5.0)}
    for step in sorted(steps, reverse=first == "link"):
        await steps[step]()
    assert await tombstones(store, A, B, U, V) == {A: 5.0, U: 5.0}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_a_tombstone_spreads_over_aliases_both_ways_whatever_comes_first(store, order):
    steps = [
        lambda: link(store, (V, U, 1.0)),
        lambda: link(store, (A, V, 9.0)),
        lambda: forget(store, U, 5.0),
    ]
    for step in order:
        await steps[step]()
    assert await tombstones(store, A, U, V) == {A: 5.0, U: 5.0, V: 5.0}
    assert (await request(store)).subjects == (A, U, V)


async def test_a_deletion_of_an_anonymous_subject_spares_its_user_and_marks_it(store):
    await link(store, (A, U, 1.0))
    marks = await forget(store, A, 5.0)
    assert await tombstones(store, A, U) == {A: 5.0}
    assert {mark.subject for mark in marks} == {A, U}
    assert await components(store, A, U) == {A: (A,), U: (U,)}


async def test_a_tombstone_only_rises(store):
    await forget(store, U, 5.0, "r1")
    await forget(store, U, 3.0, "r2")
    assert await tombstones(store, U) == {U: 5.0}
    await forget(store, U, 7.0, "r3")
    assert await tombstones(store, U) == {U: 7.0}


async def test_what_is_older_is_no_link_and_what_is_younger_links_again_from_its_first_time_on(store):
    await link(store, (A, U, 1.0))
    await forget(store, U, 5.0)
    assert await components(store, A) == {A: (A,)}
    await link(store, (A, U, 7.0))
    async with store.db.read() as tx:
        component = (await store.people.components(tx, [A]))[A]
    assert (component.subjects, component.links) == ((A, U), {A: (U, 5.0)})


async def test_links_that_are_erased_still_lead_a_later_deletion_to_the_same_subjects(store):
    await link(store, (A, U, 1.0))
    await forget(store, U, 5.0, "r1")
    await erase(store, "r1")
    assert await pairs(store) == {}
    await forget(store, U, 9.0, "r2")
    assert await tombstones(store, A, U) == {A: 9.0, U: 9.0}


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


async def test_addresses_are_kept_on_open_requests_of_their_subject_alone_and_go_with_them(store):
    await forget(store, U, 5.0, "r1")
    await forget(store, V, 5.0, "r2")
    addresses = Changes(addresses={(U, "email:a@b.c"): None, (W, "email:w@b.c"): None})
    for _ in range(2):
        await store.commit(Work(processor="p", claims={}, changes=addresses))
    assert [(await request(store, number)).addresses for number in ("r1", "r2")] == [("email:a@b.c",), ()]
    await store.deletions.note_ends("r1", {Partition("segment.track", 0): 0})
    await erase(store, "r1")
    await store.deletions.finish("r1", 6.0)
    await store.commit(Work(processor="p", claims={}, changes=addresses))
    assert (await request(store)).addresses == ()


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
