"""What must not depend on who comes first: each race, with its steps forced in that order."""

import asyncio

import pytest
from msgspec import Struct, structs

from processors.profiles import Profiles
from stream import topics
from stream.config import IdentityConfig
from stream.errors import PositionLost
from stream.processor import Projection, Table
from tests.embedded import Embedded, config, message
from tests.engine.outcome import published, ready
from tests.engine.stalls import Over, Stall, elsewhere, member, reached, stall_append, stall_commit, stalled_write

pytestmark = pytest.mark.usefixtures("each_store")


class Seen(Struct):
    ids: list[str] = []


class Collect(Projection):
    """One row that every event changes, whoever it is about."""

    topics = ("track",)
    seen = Table("seen", Seen)

    def __init__(self, name="collect"):
        self.name = name

    def subjects(self, event):
        return ("group:all",)

    def handle(self, event):
        row = self.seen.get("group:all") or Seen()
        row.ids.append(event.message_id)
        self.seen.put("group:all", row)


def profiles(name="profiles"):
    projection = Profiles(IdentityConfig())
    projection.name = name
    return projection


async def seen_ids(system):
    row = (await system.store.load([("seen", "group:all")])).rows["seen", "group:all"]
    return row.value or ""


def tracks(number):
    return [message("track", n, userId=f"u{n}", event="A", messageId=f"m{n}") for n in range(1, number + 1)]


async def test_a_member_that_lost_its_claim_wakes_up_and_changes_nothing(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles"])) as system:
        await ready(system)
        await system.send(message("track", 1, userId="u1", event="A"), message("track", 2, userId="u1", event="B"))
        stall = stall_commit(system, "profiles")
        frozen = asyncio.create_task(system.step("profiles"))
        await reached(stall, frozen)
        async with member(system, profiles(), log=elsewhere(system)) as (newer, cursor):
            assert await newer.step(cursor) == 2
            stall.let_go()
            await frozen
            await system.send(message("track", 3, userId="u1", event="A"))
            await system.step("profiles")  # it still believes that it owns the partition
            assert (await system.person("user:u1")).events == {"A": 1, "B": 1}
            assert await newer.step(cursor) == 1
        assert (await system.person("user:u1")).events == {"A": 2, "B": 1}
        assert await system.fates() == {"profiles": {"applied": 3}}


async def test_two_members_and_a_second_cursor_write_one_subject_and_nothing_is_lost(tmp_path):
    gather = asyncio.Barrier(3)

    def together(store):
        first = True

        async def commit(work):
            nonlocal first
            if first:
                first = False
                await gather.wait()  # all three have read the row before any of them writes it
            return await store.commit(work)

        return Over(store, commit=commit)

    async with Embedded.open(tmp_path, config(tmp_path, [])) as system:
        await system.send(*tracks(20))
        async with (
            member(system, Collect(), together(system.store)) as (one, first),
            member(system, Collect(), together(system.store)) as (two, second),
            member(system, Collect("replay"), together(system.store)) as (replay, third),
        ):
            while len(one._next) != 2 or len(two._next) != 2:  # the members share the partitions
                await asyncio.sleep(0)
            await asyncio.gather(one.step(first), two.step(second), replay.step(third))
            ids = await seen_ids(system)
        assert [ids.count(f'"m{n}"') for n in range(1, 21)] == [2] * 20
        assert await system.fates() == {"collect": {"applied": 20}, "replay": {"applied": 20}}
        assert sum(system.around.metrics.conflicts.labels(name)._value.get() for name in ("collect", "replay")) >= 2


async def test_a_publisher_that_stalls_between_reading_and_appending_does_not_have_the_last_word(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        consent = {"consent": {"categoryPreferences": {"ads": True}}}
        await system.send(message("identify", 1, userId="u1", traits={"plan": 1}, context=consent))
        stall = stall_append(system, "profiles")
        step = asyncio.create_task(system.step("profiles"))
        await reached(stall, step)
        await system.read("consent")
        assert (await published(system))["user:u1"]["consents"]["ads"]["status"] == "yes"
        stall.let_go()
        await step
        last = (await published(system))["user:u1"]
        assert (last["traits"], last["consents"]["ads"]["status"]) == ({"plan": 1}, "yes")
        values = [d.message.value for d in await system.topic(topics.PERSON_CHANGED)]
        assert max(values, key=revision) == values[-1]
        assert await system.store.marks.open("profiles") == await system.store.marks.open("consent") == []


async def test_a_key_published_just_before_it_was_renamed_is_nulled(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        stall, publisher = Stall(), system.projectors["consent"]._publisher
        db = stalled_write(system.store.db, stall)
        publisher._around = structs.replace(system.around, store=Over(system.store, db=db))
        consent = {"consent": {"categoryPreferences": {"ads": True}}}
        await system.send(message("page", 1, anonymousId="a9", context=consent))
        step = asyncio.create_task(system.step("consent"))
        await reached(stall, step)  # anon:a9 is published, and that is not noted yet
        await system.send(message("identify", 2, userId="u1", anonymousId="a9"))
        await system.read("profiles")
        stall.let_go()
        await step
        assert list(await published(system)) == ["user:u1"]


async def test_a_publisher_that_stalls_while_a_subject_moves_does_not_have_the_last_word_on_its_old_person(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(
            message("identify", 5, userId="u2", anonymousId="a9", traits={"plan": 2}),
            message("page", 6, anonymousId="a9", context={"consent": {"categoryPreferences": {"ads": True}}}),
        )
        await system.read("profiles")
        stall = stall_append(system, "consent")
        step = asyncio.create_task(system.step("consent"))
        await reached(stall, step)  # user:u2 is read with anon:a9
        await system.send(message("identify", 3, userId="u1", anonymousId="a9", traits={"plan": 1}))
        await system.read("profiles")
        stall.let_go()
        await step
        people = {key: person["subjects"] for key, person in (await published(system)).items()}
        assert people == {"user:u1": ["anon:a9", "user:u1"], "user:u2": ["user:u2"]}


async def test_a_key_that_was_given_away_between_reading_and_appending_is_published_anew_after_a_crash(tmp_path):
    consent = {"consent": {"categoryPreferences": {"ads": True}}}
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 5, userId="u2", anonymousId="a9", traits={"plan": 2}))
        await system.send(message("page", 6, anonymousId="a9", context=consent))
        await system.read("profiles")
        stall, publisher = stall_append(system, "consent"), system.projectors["consent"]._publisher

        async def crash(*_):
            raise asyncio.CancelledError

        publisher._settle = crash
        step = asyncio.create_task(system.step("consent"))
        await reached(stall, step)  # user:u2 is read with anon:a9
        await system.send(message("identify", 3, userId="u1", anonymousId="a9", traits={"plan": 1}))
        await system.read("profiles")
        stall.let_go()
        await asyncio.wait([step])
        assert (await published(system))["user:u2"]["subjects"] == ["anon:a9", "user:u2"]
    async with Embedded.open(tmp_path) as system:
        people = {key: person["subjects"] for key, person in (await published(system)).items()}
        assert people == {"user:u1": ["anon:a9", "user:u1"], "user:u2": ["user:u2"]}


async def test_a_dead_event_is_retried_after_later_ones_and_the_counts_are_right(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["examples.orders"])) as system:
        await ready(system)
        orders = [
            message("track", n, userId="u1", event="Order Completed", properties={"revenue": revenue})
            for n, revenue in enumerate([1, "two", 4])
        ]
        await system.send(*orders)
        await system.read()
        (held,) = await system.store.held.page()
        assert (held.reason, held.delivery.offset, held.attempts) == ("bug:ValueError", 1, 1)
        assert await system.projectors["orders"].retry(held) == "held:bug:ValueError"
        assert await system.store.held.edit(held.id, (held.delivery.message.value or b"").replace(b'"two"', b"2"))
        (held,) = await system.store.held.page()
        assert held.attempts == 2
        assert await system.projectors["orders"].retry(held) == "applied"
        assert await system.projectors["orders"].retry(held) == "left before"
        row = (await system.store.load([("orders", "user:u1")])).rows["orders", "user:u1"]
        assert row.value == '{"count":3,"revenue":7.0}'
        assert await system.fates() == {"orders": {"applied": 2, "held": 1, "left:applied": 1}}
        assert await system.store.held.page() == []


async def test_a_log_that_was_replaced_under_its_positions_stops_the_processor_and_is_named(tmp_path):
    only = config(tmp_path, ["profiles"])
    async with Embedded.open(tmp_path, only) as system:
        await ready(system)
        await system.send(*tracks(4))
        await system.read()
        before = await system.store.positions.all()
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    async with Embedded.open(tmp_path, only) as system:
        with pytest.raises(PositionLost, match=r"profiles is at .* the log was replaced"):
            while True:
                await system.step("profiles")
                await asyncio.sleep(0)
        assert await system.store.positions.all() == before


async def test_a_link_that_moves_to_an_earlier_user_publishes_both_people_anew(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        for sent in (
            message("identify", 1, anonymousId="a9", traits={"plan": 9}),
            message("identify", 5, userId="u2", anonymousId="a9", traits={"name": "two"}),
            message("identify", 3, userId="u1", anonymousId="a9", traits={"name": "one"}),
        ):
            await system.send(sent)
            await system.read()
        people = {key: (person["subjects"], person["traits"]) for key, person in (await published(system)).items()}
        assert people == {
            "user:u1": (["anon:a9", "user:u1"], {"plan": 9, "name": "one"}),
            "user:u2": (["user:u2"], {"name": "two"}),
        }
        profile = await system.topic(topics.PERSON_PROFILE)
        assert [d.message.value for d in profile if d.message.key == b"anon:a9"][-1] is None
        assert {d.message.key for d in await system.topic(topics.PERSON_CHANGED)} == {
            b"anon:a9",
            b"user:u1",
            b"user:u2",
        }


def revision(value):
    return int(value.partition(b'"revision":')[2].partition(b"}")[0])
