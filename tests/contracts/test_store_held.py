"""The contract of the store on what is held, asked for, stopped, noted; and on two processes with one store."""

import asyncio

import pytest

from stream.errors import ClaimLost, Conflict
from stream.store import Work
from stream.store.lanes import Lane
from tests.contracts.stores import LOG, LOGS, TRACK, Pause, claimed, dead, hold, put, values

ROW = ("t", "user:1")


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
    await store.db.writing(lambda tx: store.held.fail(tx, held.id, "other", "trace"))
    again = await store.held.get(held.id)
    assert again is not None and (again.attempts, again.reason, again.trace) == (2, "other", "trace")

    async def write(tx):
        assert await store.held.remove(tx, held.id)
        assert not await store.held.remove(tx, held.id)

    await store.db.writing(write)
    assert await store.held.page() == []


async def test_what_left_and_is_held_again_after_its_processor_was_put_back_leaves_once_more(store):
    await claimed(store, dead().processor)
    for _ in range(2):  # read anew from there, it dies again
        await hold(store, dead())
        (held,) = await store.held.page()
        assert await store.db.writing(lambda tx, held=held: store.held.remove(tx, held.id))
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


async def test_held_deliveries_come_in_pages_by_state(store):
    waiting = [dead(offset=n, processor="q", lane="user:1", state="waiting", reason="late") for n in (3, 4)]
    await hold(store, dead(offset=1), *waiting, dead(offset=2))
    page = store.held.page
    assert [one.delivery.offset for one in await page(state="waiting")] == [3, 4]
    assert [one.delivery.offset for one in await page(state="dead", limit=1)] == [1]
    assert [one.delivery.offset for one in await page("p", state="dead", after=1)] == [2]
    assert await page("p", state="waiting") == [] == await page("q", "why", state="waiting")


async def test_lanes_are_told_by_when_they_are_due_with_what_waits_in_each(store):
    def lane(name, due, **more):
        return Lane(name=name, partition=TRACK, due=due, since=1.0, **{"reason": "late", "attempts": 2, **more})

    late = {"processor": "q", "state": "waiting"}
    await hold(
        store,
        dead(offset=0, processor="q", lane="b"),
        *[dead(offset=offset, lane="a", **late) for offset in (1, 2)],
        dead(offset=3, lane="b", **late),
        dead(offset=4, processor="q", lane="c"),
    )
    lanes = [lane("a", 9.0), lane("b", 8.0, reason="other"), lane("c", 7.0)]

    async def write(tx):
        for one in lanes:
            await store.lanes.put(tx, "q", one)
        await store.lanes.put(tx, "p", lane("a", 5.0))

    await store.db.writing(write)
    found = await store.lanes.page("q", None, 10)
    assert [one.lane for one in found] == lanes[::-1]
    assert [(one.lane.name, one.waiting, one.first) for one in found] == [("c", 0, 5), ("b", 1, 4), ("a", 2, 2)]
    assert [one.lane.name for one in await store.lanes.page(None, "late", 2)] == ["a", "c"]
    assert [one.processor for one in await store.lanes.page(None, "other", 2)] == ["q"]
    assert await store.lanes.named("q", {"a", "c", "x"}) == {"a": lanes[0], "c": lanes[2]}
    assert await store.lanes.counts() == {"p": (1, 5.0), "q": (3, 7.0)}


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


async def test_the_hash_of_a_subject_is_the_same_after_reopening_and_another_in_another_store(kind):
    async with kind.open() as store:
        hashed = store.people.hash("user:1")
        assert "user" not in hashed and hashed != store.people.hash("anon:1")
    async with kind.open() as store:
        assert store.people.hash("user:1") == hashed
    async with kind.another() as other, other.open() as store:
        assert store.people.hash("user:1") != hashed


async def test_what_one_process_writes_another_reads_at_the_same_time(kind):
    async with kind.open() as writing, kind.open() as beside:
        claims = await claimed(writing)
        await put(writing, claims, {ROW: "1"}, positions={TRACK: 1}, held=[dead()])
        assert await values(beside, ROW) == ["1"]
        (held,) = await beside.held.page()

        pause = Pause()

        async def write(tx):
            await writing.positions.advance(tx, "p", {TRACK: 2}, {})
            await pause.pass_through()

        task = asyncio.create_task(writing.db.writing(write))
        await pause.reached()
        assert (await beside.positions.all())["p"] == {TRACK: 1}  # a reader waits for nobody, and sees no half
        pause.let_go()
        await task
        assert (await beside.positions.all())["p"] == {TRACK: 2}
        assert await beside.db.writing(lambda tx: beside.held.remove(tx, held.id))
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


async def test_a_transaction_that_is_cut_off_is_whole_or_not_at_all_and_the_next_one_runs(store):
    pause = Pause()

    async def write(tx):
        await tx.run("INSERT INTO meta (key, value) VALUES ('table:cut', '')")
        await pause.pass_through()
        await tx.run("INSERT INTO meta (key, value) VALUES ('table:off', '')")

    task = asyncio.create_task(store.db.writing(write))
    await pause.reached()
    task.cancel()
    pause.let_go()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.register(["t"])
    assert sorted(await store.tables()) in (["cut", "off", "t"], ["t"])


async def test_who_is_put_elsewhere_loses_its_claim_and_is_not_caught_up(store):
    claims = await claimed(store, "p")
    await put(store, claims, {ROW: "1"}, positions={TRACK: 7})
    await store.positions.place("p", {TRACK: 3}, LOGS)
    assert await store.positions.places("p") == {TRACK: (3, LOG)}
    with pytest.raises(ClaimLost):
        await put(store, claims, {ROW: "2"}, positions={TRACK: 8})
    assert await store.positions.claim("p", {TRACK: 0}, LOGS) == {TRACK: (3, 3, LOG)}


async def test_what_is_held_of_a_log_that_is_gone_takes_no_offset_of_the_next(store):
    await claimed(store, "p")
    await hold(store, dead())
    await store.positions.place("p", {TRACK: 0}, LOGS)
    assert [one.delivery.offset for one in await store.held.page()] == [0]  # of this log: it is not done again
    await store.positions.place("p", {TRACK: 0}, {TRACK.topic: "another"})
    await hold(store, dead())  # else it would be taken for the first one
    assert len(await store.held.page()) == 2
    assert 0 in {one.delivery.offset for one in await store.held.page()}
