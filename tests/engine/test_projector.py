"""One member of one projection: misses, fates that add up, most of them dying, sharing the loop."""

import asyncio

import pytest
from msgspec import Struct, structs

from stream.errors import Dead, Skip, Stopped
from stream.message import Message
from stream.processor import Projection, Table
from stream.turns import Turns
from stream.worker import Worker
from tests.embedded import Embedded, config, message
from tests.engine.outcome import finish, lags, ready
from tests.engine.stalls import Over

pytestmark = pytest.mark.usefixtures("each_store")


class Count(Struct):
    amount: int = 0


class Groups(Projection):
    """Counts per plan, and announces nobody."""

    name = "groups"
    topics = ("track",)
    counts = Table("groups", Count)
    calls = 0

    def subjects(self, event):
        return ()

    def handle(self, event):
        Groups.calls += 1
        for subject in (f"plan:{event.properties['plan']}", "plan:all"):
            row = self.counts.get(subject) or Count()
            row.amount += 1
            self.counts.put(subject, row)


class Moody(Projection):
    """Ends each event as its properties say."""

    name = "moody"
    topics = ("track", "page")
    counts = Table("moody", Count)

    def __init__(self, on_handle=lambda: None):
        self._on_handle = on_handle

    def handle(self, event):
        self._on_handle()
        row = self.counts.get(event.subject) or Count()
        row.amount += 1
        self.counts.put(event.subject, row, "moody")
        match event.properties.get("end"):
            case "skip":
                raise Skip("not_today")
            case "dead":
                raise Dead("wrong")
            case "bug":
                raise ZeroDivisionError("secret")


def ending(*ends, kind="track"):
    return [
        message(kind, n, userId=f"u{n}", properties={"end": end}, messageId=f"{kind}{n}") for n, end in enumerate(ends)
    ]


async def count(system, table, subject):
    value = (await system.store.load([(table, subject)])).rows[table, subject].value
    return value and value.partition(":")[2].rstrip("}")


@pytest.fixture
async def moody(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, []), more=[Moody()]) as system:
        await ready(system)
        yield system


async def test_rows_that_were_not_announced_are_loaded_and_handle_is_called_again(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, []), more=[Groups()]) as system:
        await ready(system)
        Groups.calls = 0
        for _ in range(2):
            await system.send(*[message("track", n, userId=f"u{n}", properties={"plan": n % 7}) for n in range(70)])
            await system.read()
        assert [await count(system, "groups", f"plan:{n}") for n in (*range(7), "all")] == [*["20"] * 7, "140"]
        assert await system.fates() == {"groups": {"applied": 140}}
        assert Groups.calls < 70 * 2 * 4  # what is missing is loaded together


async def test_every_delivery_ends_in_one_fate_and_they_add_up(moody):
    await moody.send(*ending(None, "skip", "dead", "bug", None, "skip"))
    await moody.log.append([Message("segment.page", b"k", b"\xff not json", (("received", b"x"),))])
    await moody.read()
    assert await moody.fates() == {"moody": {"applied": 2, "skipped:not_today": 2, "held": 3}}
    held = {one.reason: one for one in await moody.store.held.page()}
    assert held.keys() == {"wrong", "bug:ZeroDivisionError", "bug:UnicodeDecodeError"}
    assert (held["wrong"].subject, held["wrong"].time) == ("user:u2", 2.0)
    assert "ZeroDivisionError: secret" in held["bug:ZeroDivisionError"].trace
    assert [one.behind for one in await lags(moody)] == [0]


async def test_what_skip_dead_or_a_bug_put_before_is_not_kept_and_marks_nobody(moody):
    await moody.send(*ending("skip", "dead", "bug", None))
    await moody.read()
    assert [await count(moody, "moody", f"user:u{n}") for n in range(4)] == [None, None, None, "1"]
    assert [d.message.key for d in await moody.topic("person.changed")] == [b"user:u3"]


async def test_most_events_dying_stops_the_processor_with_a_window_of_dead_ones_at_most(moody):
    await moody.send(*ending(*["bug"] * 500))
    with pytest.raises(Stopped, match=r"most of its last deliveries died \(bug:ZeroDivisionError\)"):
        await moody.read()
    fates = await moody.fates()
    assert 20 <= fates["moody"]["held"] <= 100
    (lag,) = await lags(moody)
    assert lag.behind == 500 - fates["moody"]["held"]


async def test_a_stopped_processor_waits_over_a_restart_until_it_is_resumed(tmp_path):
    mended = False

    def raise_until_mended():
        if not mended:
            raise ZeroDivisionError

    async def until(condition):
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    projection, only = Moody(raise_until_mended), config(tmp_path, [])
    async with Embedded.open(tmp_path, only) as system:
        await system.send(*ending(*[None] * 100))
        worker = Worker(system.around, [projection], False)
        running = asyncio.create_task(worker.run())
        await until(lambda: worker.stopped)
        running.cancel()
        await asyncio.wait([running])
    async with Embedded.open(tmp_path, only) as system:
        held = len(await system.store.held.page())
        worker = Worker(system.around, [projection], False)
        running = asyncio.create_task(worker.run())
        await until(lambda: worker.stopped)
        assert "most of its last deliveries died" in worker.stopped["moody"]
        assert not await worker.resume("another")
        await worker.resume("moody")
        await until(lambda: worker.stopped)  # nothing was mended
        again = len(await system.store.held.page())
        assert held < again <= held + 20
        mended = True
        assert await worker.resume("moody")
        async with asyncio.timeout(20):
            while (await worker.lags())[0].behind:
                await asyncio.sleep(0.01)
        assert worker.stopped == {} and await system.store.positions.stops() == {}
        assert await system.fates() == {"moody": {"held": again, "applied": 100 - again}}
        running.cancel()
        await asyncio.wait([running])


async def test_slow_handles_of_two_projections_hold_the_loop_for_one_turn_at_most(tmp_path):
    now = 0.0
    since_others_ran = 0.0
    longest = 0.0

    def slow():
        nonlocal now, longest
        now += 0.0005
        longest = max(longest, now - since_others_ran)

    async def others():
        nonlocal since_others_ran
        while True:
            since_others_ran = now
            await asyncio.sleep(0)

    one, two = Moody(slow), Moody(slow)
    two.name, two.counts = "two", Table("two", Count)
    async with Embedded.open(tmp_path, config(tmp_path, []), more=[one, two]) as system:
        await ready(system)
        turns = Turns(0.002, timer=lambda: now)
        for projector in system.projectors.values():
            projector._around = structs.replace(projector._around, turns=turns)
        await system.send(*ending(*[None] * 200))
        running = asyncio.create_task(others())
        await asyncio.gather(system.read("moody"), system.read("two"))
        running.cancel()
        assert now >= 0.2
        stride = 0.0005 * 16
        assert longest <= 0.002 + stride
        await finish(system)


async def test_a_commit_that_lands_though_it_is_cancelled_is_not_undone_at_the_end(tmp_path):
    only = config(tmp_path, ["consent"])
    async with Embedded.open(tmp_path, only) as system:
        await ready(system)
        await system.send(message("track", 1, userId="u1", event="A"))
        await system.step("consent")  # it changes nothing, and its position is not written yet

        async def cancelled(work):
            await system.store.commit(work)
            raise asyncio.CancelledError

        projector = system.projectors["consent"]
        projector._around = structs.replace(system.around, store=Over(system.store, commit=cancelled))
        consent = {"consent": {"categoryPreferences": {"ads": True}}}
        await system.send(message("track", 2, userId="u1", event="B", context=consent))
        with pytest.raises(asyncio.CancelledError):
            await system.step("consent")
        projector._around = system.around
    async with Embedded.open(tmp_path, only) as system:
        await ready(system)
        await system.read()
        assert await system.fates() == {"consent": {"applied": 1, "skipped:no_consent": 1}}
