"""The contract of the store, on every database that it runs on: rows, claims, positions, marks."""

import itertools

import pytest

from stream.core.sheet import Changes
from stream.errors import ClaimLost, Conflict
from stream.message import Partition
from stream.store import Work
from tests.contracts.stores import LOG, LOGS, OTHER, TRACK, claimed, clear, dead, forget, mark, put, values

ROW, SECOND = ("t", "user:1"), ("t", "user:2")


async def test_a_row_that_was_put_is_read_back_and_an_absent_one_is_none(store):
    claims = await claimed(store)
    await put(store, claims, {ROW: '"é"'})
    assert await values(store, ROW, SECOND) == ['"é"', None]


async def test_a_row_is_removed_by_putting_none_and_none_over_nothing_is_nothing(store):
    claims = await claimed(store)
    await put(store, claims, {ROW: "1"})
    await put(store, claims, {ROW: None, SECOND: None})
    assert await values(store, ROW, SECOND) == [None, None]


async def test_rows_of_one_subject_in_two_tables_are_two_rows(store):
    claims = await claimed(store)
    await put(store, claims, {("t", "user:1"): "1", ("t@2", "user:1"): "2"})
    assert await values(store, ("t", "user:1"), ("t@2", "user:1")) == ["1", "2"]


async def test_a_version_never_repeats_over_removals_writers_and_reopening(kind):
    seen = []
    for value in ("1", "2"):
        async with kind.open() as store, kind.open() as beside:
            claims = await claimed(store)
            for writer, now in itertools.product((store, beside), (value, None, value)):
                await put(writer, claims, {ROW: now})
                seen.append((await store.load([ROW])).rows[ROW].version)
    versions = [version for version in seen if version is not None]
    assert len(set(versions)) == len(versions) == 8


@pytest.mark.parametrize("before", ["1", None])
@pytest.mark.parametrize("between", ["1", "2", None])
@pytest.mark.parametrize("mine", ["3", None])
async def test_a_row_that_changed_since_it_was_read_is_a_conflict(store, before, between, mine):
    claims = await claimed(store)
    await put(store, claims, {ROW: before})
    loaded = await store.load([ROW, SECOND])
    await put(store, claims, {ROW: "0"})
    await put(store, claims, {ROW: between})
    work = Work(processor="p", claims=claims, positions={TRACK: 9}, fates={TRACK: {"applied": 9}})
    work.loaded, work.puts = loaded.rows, {SECOND: "1", ROW: mine}
    if before is None and (mine is None or between is None):
        await store.commit(work)  # absent before, absent now: nothing of it was seen
        assert await values(store, ROW, SECOND) == [between if mine is None else mine, "1"]
        return
    with pytest.raises(Conflict):
        await store.commit(work)
    assert await values(store, ROW, SECOND) == [between, None]
    assert (await store.positions.all())["p"][TRACK] == 0
    assert await store.positions.fates() == {}


async def test_a_conflict_leaves_no_mark_link_held_delivery_or_request_to_delete(store):
    claims = await claimed(store)
    loaded = await store.load([ROW])
    await put(store, claims, {ROW: "1"})
    changes = Changes(
        marks={("user:1", "traits"): None},
        links={("anon:1", "user:1"): (1.0, 1.0)},
        forgets={("r", "user:2"): (3.0, "segment")},
        addresses={("user:2", "email:a@b.c"): None},
    )
    work = Work(processor="p", claims=claims, loaded=loaded.rows, puts={ROW: "2"}, changes=changes, held=[dead()])
    with pytest.raises(Conflict):
        await store.commit(work)
    assert await store.marks.open("p") == []
    assert await store.held.page() == []
    assert await store.deletions.every() == []
    assert await store.db.reading(lambda tx: tx.all("SELECT 1 FROM links")) == []


async def test_an_older_claim_writes_nothing(store):
    old = await claimed(store)
    new = await claimed(store)
    assert new[TRACK] > old[TRACK]
    with pytest.raises(ClaimLost):
        await put(store, old, {ROW: "1"}, positions={TRACK: 5}, held=[dead()], fates={TRACK: {"applied": 5}})
    assert await values(store, ROW) == [None]
    assert await store.positions.all() == {"p": {TRACK: 0}}
    assert await store.held.page() == []
    await put(store, new, {ROW: "2"}, positions={TRACK: 5})
    assert await store.positions.all() == {"p": {TRACK: 5}}


async def test_one_lost_claim_among_several_is_enough(store):
    old = await claimed(store, "p", TRACK, OTHER)
    await claimed(store, "p", OTHER)
    with pytest.raises(ClaimLost):
        await put(store, old, {ROW: "1"}, positions={TRACK: 1})
    assert await values(store, ROW) == [None]


async def test_claims_of_processors_are_their_own(store):
    mine = await claimed(store, "p")
    await claimed(store, "q")
    await put(store, mine, {ROW: "1"})
    assert await values(store, ROW) == ["1"]


async def test_a_claim_answers_with_the_position_and_the_log_it_counts_in(store):
    assert await store.positions.claim("p", {TRACK: 40}, LOGS) == {TRACK: (40, 1, LOG)}
    await put(store, {TRACK: 1}, {}, positions={TRACK: 50})
    found = await store.positions.claim("p", {TRACK: 45, OTHER: 3}, {TRACK.topic: "another"})
    assert found == {TRACK: (50, 2, LOG), OTHER: (3, 1, "another")}


async def test_rows_position_and_tally_are_one_transaction(kind):
    async with kind.open() as store:
        claims = await claimed(store, "p", TRACK, OTHER)
        fates = {TRACK: {"applied": 2, "held": 1}, OTHER: {"applied": 4}}
        for _ in range(2):
            await put(store, claims, {ROW: "1"}, positions={TRACK: 3}, fates=fates)
    async with kind.open() as store:
        assert await store.positions.fates() == {"p": {"applied": 12, "held": 2}}
        assert await store.positions.all() == {"p": {TRACK: 3, OTHER: 0}}
        assert await values(store, ROW) == ["1"]


async def test_marks_have_growing_revisions_and_a_newer_one_replaces_an_older(store):
    claims = await claimed(store)
    wanted = Changes(marks={("user:1", "traits"): None, ("user:1", "identity"): None})
    first = await put(store, claims, {}, changes=wanted)
    second = await put(store, claims, {}, changes=Changes(marks={("user:1", "traits"): None}))
    assert [(m.subject, m.facet) for m in first] == list(wanted.marks)
    assert max(m.revision for m in first) < second[0].revision
    assert await store.marks.open("p") == [first[1], second[0]]
    await clear(store, first)
    assert await store.marks.open("p") == second
    assert await store.marks.open("q") == []


async def test_a_revision_never_repeats_after_reopening(kind):
    async with kind.open() as store:
        before = await mark(store, ("user:1", "traits"))
        await clear(store, before)
    async with kind.open() as store:
        assert (await mark(store, ("user:1", "traits"), processor="q"))[0].revision > before[0].revision


async def test_which_keys_hold_a_published_value_is_kept_until_they_are_nulled(store):
    await clear(store, [], {"user:1": 1, "user:2": 2})
    await clear(store, [], {"user:3": 3}, {"user:1"})
    assert await store.db.reading(lambda tx: store.marks.has_value(tx, ["user:1", "user:2", "user:3", "user:4"])) == {
        "user:2",
        "user:3",
    }


async def test_open_marks_come_in_pages_the_oldest_first(store):
    marks = await mark(store, *[(f"user:{n}", "traits") for n in range(5)])
    assert await store.marks.open("p", limit=2) == marks[:2]


@pytest.mark.slow
async def test_a_batch_of_thousands_of_rows_is_read_and_written_at_once(store):
    claims = await claimed(store)
    keys = [("t", f"user:{n}") for n in range(10_000)]
    await put(store, claims, {key: '{"a":1}' for key in keys[:5_000]})
    await put(store, claims, dict.fromkeys(keys, '{"a":2}'))
    rows = (await store.load(keys)).rows
    assert len(rows) == 10_000 and {row.value for row in rows.values()} == {'{"a":2}'}
    await forget(store, "user:1", 3.0)
    assert (await store.load(keys)).tombstones == {"user:1": 3.0}


async def test_positions_that_retention_counts_on_are_those_of_every_processor_in_this_log(store):
    claims = await claimed(store, "p", TRACK, OTHER)
    await put(store, claims, {}, positions={TRACK: 7})
    await claimed(store, "q", Partition("segment.page", 0))
    await store.positions.claim("r", {TRACK: 5}, {TRACK.topic: "another log"})
    assert await store.positions.synced(LOG) == {"p": {TRACK: 7, OTHER: 0}, "q": {Partition("segment.page", 0): 0}}
