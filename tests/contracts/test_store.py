"""The contract of the store, on every database it runs on: rows, claims, positions, marks, held deliveries, requests."""

import asyncio
import itertools

import pytest

from stream.core.sheet import Changes
from stream.errors import ClaimLost, Conflict
from stream.message import Partition
from stream.store import Work
from tests.contracts.stores import KINDS, LOG, OTHER, TRACK, claimed, clear, dead, forget, hold, mark, put, values

ROW, SECOND = ("t", "user:1"), ("t", "user:2")


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    return KINDS[request.param](tmp_path)


@pytest.fixture
async def store(kind):
    async with kind.open() as store:
        yield store


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
        forgets={"r": ("user:2", 3.0, "segment")},
        addresses={("user:2", "email:a@b.c"): None},
    )
    work = Work(processor="p", claims=claims, loaded=loaded.rows, puts={ROW: "2"}, changes=changes, held=[dead()])
    with pytest.raises(Conflict):
        await store.commit(work)
    assert await store.marks.open("p") == []
    assert await store.held.page() == []
    assert await store.deletions.every() == []
    async with store.db.read() as tx:
        assert await tx.all("SELECT 1 FROM links") == []


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
    assert await store.positions.claim("p", {TRACK: 40}, LOG) == {TRACK: (40, 1, LOG)}
    await put(store, {TRACK: 1}, {}, positions={TRACK: 50})
    found = await store.positions.claim("p", {TRACK: 45, OTHER: 3}, "another")
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
    async with store.db.read() as tx:
        assert await store.marks.has_value(tx, ["user:1", "user:2", "user:3", "user:4"]) == {"user:2", "user:3"}


async def test_open_marks_come_in_pages_the_oldest_first(store):
    marks = await mark(store, *[(f"user:{n}", "traits") for n in range(5)])
    assert await store.marks.open("p", limit=2) == marks[:2]


async def test_a_held_delivery_is_read_back_whole(store):
    one = dead(edited=None)
    await hold(store, one)
    (found,) = await store.held.page()
    assert found == type(one)(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "id": found.id})
    assert await store.held.get(found.id) == found
    assert await store.held.get(found.id + 1) is None


async def test_what_failed_again_counts_its_attempts_and_what_left_is_gone(store):
    await hold(store, dead())
    (held,) = await store.held.page()
    async with store.db.write() as tx:
        await store.held.fail(tx, held.id, "other", "trace")
    again = await store.held.get(held.id)
    assert again is not None and (again.attempts, again.reason, again.trace) == (2, "other", "trace")
    async with store.db.write() as tx:
        assert await store.held.remove(tx, held.id)
        assert not await store.held.remove(tx, held.id)
    assert await store.held.page() == []


async def test_an_edit_is_tried_instead_and_keeps_the_original(store):
    await hold(store, dead())
    (held,) = await store.held.page()
    assert held.to_try is held.delivery
    assert await store.held.edit(held.id, b'{"a":2}')
    (edited,) = await store.held.page()
    assert edited.delivery == held.delivery
    assert edited.to_try.message.value == b'{"a":2}'
    assert (edited.to_try.offset, edited.to_try.message.headers) == (0, held.delivery.message.headers)
    assert not await store.held.edit(held.id + 1, b"{}")


async def test_held_deliveries_come_in_pages_by_processor_reason_and_subject(store):
    await hold(store, *[dead(f"user:{n % 2}", offset=n, reason=f"why{n % 3}") for n in range(6)])
    await hold(store, dead(offset=0, processor="q"))
    every = await store.held.page()
    assert [held.delivery.offset for held in every] == [0, 1, 2, 3, 4, 5, 0]
    assert await store.held.page(limit=2, after=every[1].id) == every[2:4]
    assert [held.delivery.offset for held in await store.held.page("p", "why1")] == [1, 4]
    assert [held.delivery.offset for held in await store.held.of(["user:0"])] == [0, 2, 4]
    assert await store.held.counts() == {"p": {"why0": 2, "why1": 2, "why2": 2}, "q": {"why": 1}}


async def test_a_held_delivery_is_settled_once(store):
    claims = await claimed(store)
    await hold(store, dead())
    (held,) = await store.held.page()
    await put(store, claims, {ROW: "1"}, settled=held.id)
    with pytest.raises(Conflict):
        await put(store, claims, {ROW: "2"}, settled=held.id)
    assert await values(store, ROW) == ["1"]


async def test_a_request_is_open_until_it_is_finished_and_then_names_nobody(kind):
    async with kind.open() as asking, kind.open() as running:
        number = await asking.requests.ask("forget", {"userId": "1"}, "ops", 5.0)
        second = await asking.requests.ask("resume", {}, "ops", 6.0)
        first, _ = await running.requests.open()
        assert (first.id, first.kind, first.args, first.who, first.asked) == (
            number,
            "forget",
            {"userId": "1"},
            "ops",
            5.0,
        )
        await running.requests.finish(number, "done so", 7.0)
        assert [request.id for request in await asking.requests.open()] == [second]
        done = await asking.requests.get(number)
    assert done is not None and (done.result, done.done, done.args) == ("done so", 7.0, {})


async def test_the_audit_keeps_who_did_what_to_whom_the_newest_first(store):
    for number, hashed in enumerate(("h1", "h2", "h1")):
        await store.requests.note("ops", f"read {number}", hashed, float(number))
    assert await store.requests.audit("h1") == [(2.0, "ops", "read 2", "h1"), (0.0, "ops", "read 0", "h1")]
    assert len(await store.requests.audit()) == 3


async def test_what_was_retried_of_the_invalid_topic_is_kept_once(store):
    for _ in range(2):
        await store.requests.note_retried(1, 7, 5.0)
    assert await store.requests.retried() == {(1, 7)}


async def test_a_stop_outlives_the_process_until_it_is_resumed(kind):
    async with kind.open() as store:
        await store.positions.stop("p", "most died", 5.0)
        await store.positions.stop("p", "most died again", 6.0)
    async with kind.open() as store:
        assert await store.positions.stops() == {"p": "most died again"}
        assert await store.positions.resume("p")
        assert not await store.positions.resume("p")
        assert await store.positions.stops() == {}


async def test_tables_are_known_from_then_on_whoever_registered_them(kind):
    async with kind.open() as store:
        await store.register(["t", "u"])
    async with kind.open() as store:
        await store.register(["t", "t@2"])
        assert sorted(await store.tables()) == ["t", "t@2", "u"]


async def test_the_hash_of_a_subject_is_the_same_after_reopening_and_another_in_another_store(kind, tmp_path):
    async with kind.open() as store:
        hashed = store.people.hash("user:1")
        assert "user" not in hashed and hashed != store.people.hash("anon:1")
    async with kind.open() as store:
        assert store.people.hash("user:1") == hashed
    (tmp_path / "other").mkdir()
    async with type(kind)(tmp_path / "other").open() as store:
        assert store.people.hash("user:1") != hashed


async def test_what_one_process_writes_another_reads_at_the_same_time(kind):
    async with kind.open() as writing, kind.open() as beside:
        claims = await claimed(writing)
        await put(writing, claims, {ROW: "1"}, positions={TRACK: 1}, held=[dead()])
        assert await values(beside, ROW) == ["1"]
        (held,) = await beside.held.page()
        async with writing.db.write() as tx:
            await writing.positions.advance(tx, "p", {TRACK: 2}, {})
            assert (await beside.positions.all())["p"] == {TRACK: 1}  # a reader waits for nobody, and sees no half
        async with beside.db.write() as tx:
            assert await beside.held.remove(tx, held.id)
        assert await writing.held.page() == []


async def test_two_processes_that_write_the_same_row_do_not_lose_an_update(kind):
    async def count(store, processor, times):
        claims = await claimed(store, processor)
        for _ in range(times):
            while True:
                loaded = await store.load([ROW])
                value = str(int(loaded.rows[ROW].value or 0) + 1)
                work = Work(processor=processor, claims=claims, loaded=loaded.rows, puts={ROW: value})
                try:
                    await store.commit(work)
                    break
                except Conflict:
                    continue

    async with kind.open() as one, kind.open() as other:
        await asyncio.gather(count(one, "p", 15), count(other, "q", 15))
        assert await values(one, ROW) == ["30"]


async def test_a_transaction_that_is_cut_off_leaves_nothing_and_the_next_one_runs(store):
    written = asyncio.Event()

    async def cut():
        async with store.db.write() as tx:
            await tx.run("INSERT INTO stops (processor, reason, time) VALUES ('p', 'r', 1)")
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(cut())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.positions.stop("q", "r", 1.0)
    assert await store.positions.stops() == {"q": "r"}


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
    await store.positions.claim("r", {TRACK: 5}, "another log")
    assert await store.positions.synced(LOG) == {"p": {TRACK: 7, OTHER: 0}, "q": {Partition("segment.page", 0): 0}}
