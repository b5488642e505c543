"""The contract of the store on people: links, who is one person, tombstones, requests to delete, erasure."""

import itertools
from contextlib import asynccontextmanager

import pytest

from stream.core.sheet import Changes
from stream.store import Work
from tests.contracts.stores import Watched, components, erase, forget, link, tombstones

A, B, K = "anon:1", "anon:2", "anon:kiosk"
U, V, W = "user:1", "user:2", "user:3"


@pytest.fixture
async def store(kind):
    async with kind.open(max_links=2) as store:
        yield store


@pytest.fixture
async def fresh(kind):
    """Opens stores one after another, each empty."""

    @asynccontextmanager
    async def another(**identity):
        async with kind.another() as other, other.open(**identity) as store:
            yield store

    return another


async def pairs(store):
    found = await store.db.reading(lambda tx: tx.all("SELECT subject, other, first, last FROM links"))
    return {(subject, other): (first, last) for subject, other, first, last in found}


async def request(store, number="r1"):
    return next(deletion for deletion in await store.deletions.every() if deletion.id == number)


async def test_a_pair_keeps_its_first_and_last_time_in_any_order(fresh):
    for times in itertools.permutations([3.0, 1.0, 2.0]):
        async with fresh() as store:
            await link(store, *[(A, U, time) for time in times])
            assert await pairs(store) == {(A, U): (1.0, 3.0)}


@pytest.mark.slow
async def test_an_anonymous_subject_belongs_to_the_earliest_user_in_any_order(fresh):
    for order in itertools.permutations([(A, V, 1.0), (A, U, 2.0), (A, W, 3.0), (B, U, 1.0)]):
        async with fresh() as store:
            await link(store, *order)
            assert await components(store, A, U, W) == {A: (A, V), U: (B, U), W: (W,)}


async def test_of_users_seen_at_the_same_time_the_smaller_owns(store):
    await link(store, (A, V, 1.0), (A, U, 1.0))
    assert await components(store, A) == {A: (A, U)}


@pytest.mark.slow
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
    steps = {
        "link": lambda: link(store, (A, U, 1.0), (A, V, 2.0), (B, V, 1.0)),
        "delete": lambda: forget(store, U, 5.0),
    }
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
    component = (await store.db.reading(lambda tx: store.people.components(tx, [A])))[A]
    assert (component.subjects, component.links) == ((A, U), {A: (U, 5.0)})


async def test_links_that_are_erased_still_lead_a_later_deletion_to_the_same_subjects(store):
    await link(store, (A, U, 1.0))
    await forget(store, U, 5.0, "r1")
    await erase(store, "r1")
    assert await pairs(store) == {}
    await forget(store, U, 9.0, "r2")
    assert await tombstones(store, A, U) == {A: 9.0, U: 9.0}


NOBODY = [(A, "user:null"), (A, "user:Anonymous"), ("anon:-1", U), ("anon:00000000-0000", U)]


async def unlinked(store):
    return [
        (one.subject, one.other, one.why) for one in await store.db.reading(lambda tx: store.people.unlinked(tx, 100))
    ]


@pytest.mark.parametrize("pair", NOBODY)
@pytest.mark.parametrize("first", ["link", "delete"])
async def test_a_pair_with_one_that_stands_for_nobody_is_listed_and_nothing_else_comes_of_it(store, pair, first):
    steps = {"link": lambda: link(store, (*pair, 7.0)), "delete": lambda: forget(store, pair[1], 5.0)}
    marks = [await steps[step]() for step in sorted(steps, reverse=first == "link")]
    assert {mark.subject for each in marks for mark in each} == {pair[1]}  # by the delete
    assert await tombstones(store, *pair) == {pair[1]: 5.0}
    assert await components(store, *pair) == {subject: (subject,) for subject in pair}
    assert await unlinked(store) == [(*pair, "refused")]


@pytest.mark.parametrize("pair", NOBODY)
async def test_an_erasure_removes_a_refused_pair_without_a_tie_and_it_is_not_listed_from_the_delete_on(store, pair):
    await link(store, (*pair, 1.0), (B, "user:nULL", 1.0))
    await forget(store, pair[1], 5.0)
    assert await unlinked(store) == [(B, "user:nULL", "refused")]
    await erase(store, "r1")
    await link(store, (*pair, 2.0))  # late: it names somebody who was deleted

    async def read(tx):
        assert await tx.all("SELECT subject, other FROM refused") == [(B, "user:nULL")]
        assert await tx.all("SELECT count(*) FROM ties") == [(0,)]

    await store.db.reading(read)


async def test_refused_pairs_take_nobody_s_room_and_stay_bounded(store):
    await link(store, *[(f"anon:{n}", "user:null", float(n)) for n in range(1, 9)])
    await link(store, *[("anon:null", f"user:{n}", float(n)) for n in range(1, 9)])
    assert await store.db.reading(lambda tx: tx.all("SELECT count(*) FROM refused")) == [(6,)]
    await link(store, (A, U, 1.0), (B, U, 2.0), (A, V, 3.0))
    assert await components(store, U) == {U: (A, B, U)}


@pytest.mark.parametrize("first", ["link", "delete"])
async def test_a_tombstone_does_not_spread_from_a_shared_user_to_strangers(store, first):
    fans = [f"anon:{n}" for n in range(4)]
    together = Changes(links={(fan, U): (1.0, 1.0) for fan in fans})
    steps = {
        "link": lambda: store.commit(Work(processor="p", claims={}, changes=together)),
        "delete": lambda: forget(store, U, 5.0),
    }
    for step in sorted(steps, reverse=first == "link"):
        await steps[step]()
    assert await tombstones(store, U, *fans) == {U: 5.0}
    await erase(store, "r1")
    await forget(store, U, 9.0, "r2")  # Segment asks once for each source: now over the ties
    await link(store, ("anon:late", U, 2.0))
    assert await tombstones(store, U, *fans, "anon:late") == {U: 9.0}


async def test_a_tombstone_does_not_spread_over_an_alias_to_a_shared_user(store):
    await link(store, *[(f"anon:{n}", U, 1.0) for n in range(3)], (V, U, 1.0))
    await forget(store, V, 5.0)
    assert await tombstones(store, U, V) == {V: 5.0}


@pytest.mark.parametrize("order", list(itertools.permutations([(A, W), (W, V), (V, U)])))
async def test_a_tombstone_spreads_along_a_chain_that_comes_at_once_in_any_order(store, order):
    await forget(store, U, 5.0)
    changes = Changes(links={pair: (1.0, 1.0) for pair in order})
    await store.commit(Work(processor="p", claims={}, changes=changes))
    assert await tombstones(store, A, U, V, W) == {A: 5.0, U: 5.0, V: 5.0, W: 5.0}


async def test_a_pair_that_returns_after_its_erasure_has_the_first_time_that_it_had(store):
    await link(store, (A, U, 1.0), (B, U, 2.0))
    await forget(store, U, 5.0)
    await erase(store, "r1")
    changes = Changes(links={(A, U): (7.0, 8.0), (B, U): (9.0, 9.0), (A, V): (6.0, 6.0)})
    await store.commit(Work(processor="p", claims={}, changes=changes))
    assert await pairs(store) == {(A, U): (1.0, 8.0), (B, U): (2.0, 9.0), (A, V): (6.0, 6.0)}


async def test_once_there_are_tombstones_many_links_take_no_more_statements_than_one(store):
    await forget(store, "user:gone", 5.0)
    store.db = watched = Watched(store.db)
    taken = []
    for amount in (1, 50):
        watched.statements = 0
        await link_together(store, [(f"anon:{amount}-{n}", f"user:{amount}-{n}", 7.0) for n in range(amount)])
        taken.append(watched.statements)
    assert taken[0] == taken[1] > 0


async def link_together(store, seen):
    changes = Changes(links={(subject, other): (time, time) for subject, other, time in seen})
    await store.commit(Work(processor="p", claims={}, changes=changes))
