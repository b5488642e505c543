"""The second step of a deletion: when it comes, what it removes, what it leaves, and who comes back."""

import asyncio

import pytest
from structlog.testing import capture_logs

from stream.eraser import ALARM_S, OVERDUE_S
from stream.message import Message
from tests.embedded import Clock, Embedded, config, message
from tests.engine.outcome import finish, published, ready
from tests.engine.stalls import reached, stall_append

pytestmark = pytest.mark.usefixtures("each_store")


async def states(system):
    return [deletion.state for deletion in await system.store.deletions.every()]


async def test_nothing_is_erased_before_every_projection_has_passed_the_ends(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 1, userId="u1", traits={"plan": 1}))
        await system.read()
        await system.send(message("track", 2, userId="u1", event="A"), message("delete", 5, userId="u1"))
        await system.read("deletion", "profiles", "audiences")
        for _ in range(3):
            await system.eraser.step()
        assert await states(system) == ["open"]
        assert await system.person("user:u1") is None  # at once, for whoever looks
        assert (await system.store.load([("profiles", "user:u1")])).rows["profiles", "user:u1"].value is not None
        await system.read("consent")
        await system.eraser.step()
        assert await states(system) == ["done"]
        assert (await system.store.load([("profiles", "user:u1")])).rows["profiles", "user:u1"].value is None


async def test_a_request_that_waits_for_a_projection_is_reported_once_an_hour_without_naming_anybody(tmp_path):
    clock = Clock()
    async with Embedded.open(tmp_path, clock=clock) as system:
        await ready(system)
        await system.send(message("track", 1, userId="u1", event="A"), message("delete", 5, userId="u1"))
        await system.read("deletion")
        await system.eraser.step()
        with capture_logs() as lines:
            for _ in range(4):
                clock.now += ALARM_S / 2
                await system.eraser.step()
        assert [(line["event"], line["processors"]) for line in lines] == [
            ("deletion_waits", ["profiles", "audiences", "consent"])
        ] * 2


async def settled(system, destination, *addresses):
    """A destination has deleted these."""

    async def write(tx):
        found = await system.store.deletions.settled(tx, destination, addresses, "deleted", system.around.clock())
        await system.store.marks.add(tx, "deletion.crm", [(subject, "deletion") for subject in found])
        return found

    found = await system.store.db.writing(write)
    return found


async def test_a_request_is_erased_until_its_destinations_have_deleted_and_a_new_process_closes_it(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        deletions = system.store.deletions
        deletions.destinations, deletions.deletable = {"crm": ("email",), "ads": ("email",)}, {"crm"}
        await system.send(
            message("identify", 1, userId="u1", traits={"email": "a@b.c"}), message("delete", 5, userId="u1")
        )
        await system.settle()
        (request,) = await deletions.every()
        assert (request.state, request.outstanding) == ("erased", {"crm": ("email:a@b.c",)})
        assert await system.person("user:u1") is None
        assert await system.store.marks.open("eraser") == []  # it is published all the same: the syncs must look
        assert b'"deletion"' in ((await system.topic("person.changed"))[-1].message.value or b"")
        assert await settled(system, "crm", "email:a@b.c") == {"user:u1"}
    async with Embedded.open(tmp_path) as system:
        system.store.deletions.deletable = {"crm"}
        await system.eraser.step()
        (request,) = await system.store.deletions.every()
        assert (request.state, request.subjects, [one.outcome for one in request.receipts]) == ("done", (), ["deleted"])


async def test_a_process_that_was_frozen_before_an_erasure_does_not_erase_who_has_returned_since(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        deletions = system.store.deletions
        deletions.destinations, deletions.deletable = {"crm": ("email",)}, {"crm"}
        await system.send(
            message("identify", 1, userId="u1", traits={"email": "a@b.c"}), message("delete", 5, userId="u1")
        )
        await system.read()
        await system.eraser.step()
        (frozen,) = await deletions.every("open")
        await system.settle()
        assert await settled(system, "crm", "email:a@b.c") == {"user:u1"}
        await system.send(message("identify", 9, userId="u1", traits={"email": "a@b.c"}))
        await system.settle()
        assert await states(system) == ["done"]
        await system.eraser._advance(frozen)
        (request,) = await deletions.every()
        assert (request.state, request.outstanding) == ("done", {})


async def test_an_address_that_a_refused_event_names_counts_only_if_nobody_can_have_forged_it(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        deletions = system.store.deletions
        deletions.destinations, deletions.deletable = {"crm": ("email",)}, {"crm"}
        await system.send(message("delete", 5, userId="u1"))
        await system.read()

        def identify(email, **headers):
            return message("identify", 3, headers, userId="u1", messageId=email, traits={"email": email})

        await system.send(
            identify("victim@b.c", path="sdk", signed="0"),
            identify("tail@b.c", path="destination", signed="0"),
            identify("own@b.c", path="sdk", signed="1"),
        )
        await system.settle()
        assert (await system.fates())["profiles"] == {"skipped:deleted": 3}
        (request,) = await deletions.every()
        assert request.outstanding == {"crm": ("email:own@b.c", "email:tail@b.c")}


async def test_a_request_that_is_not_done_in_a_week_is_reported_once_a_day_and_counted(tmp_path):
    clock = Clock()
    async with Embedded.open(tmp_path, clock=clock) as system:
        await ready(system)
        deletions, overdue = system.store.deletions, system.around.metrics.deletions_overdue
        deletions.destinations, deletions.deletable = {"crm": ("email",)}, {"crm"}
        await system.send(
            message("identify", 1, userId="u1", traits={"email": "a@b.c"}),
            message("delete", 5, userId="u1", messageId="d1"),
        )
        await system.settle()
        clock.now += OVERDUE_S - 1.0
        with capture_logs() as lines:
            await system.eraser.step()
            assert (lines, overdue._value.get()) == ([], 0)
            for _ in range(4):
                clock.now += 43_200.0
                await system.eraser.step()
            assert overdue._value.get() == 1
            await settled(system, "crm", "email:a@b.c")
            await system.eraser.step()
            await system.eraser.step()
        assert (
            lines
            == [{"event": "deletion_overdue", "log_level": "warning", "request": "d1", "destinations": ["crm"]}] * 2
        )
        assert overdue._value.get() == 0
        assert await states(system) == ["done"]


async def test_a_person_who_returns_keeps_what_is_younger_and_is_counted_anew(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles", "deletion", "examples.orders"])) as system:
        await ready(system)
        order = {"userId": "u1", "event": "Order Completed", "properties": {"revenue": 2}}
        await system.send(message("track", 1, **order), message("delete", 5, userId="u1"))
        await finish(system)
        for time in (6, 7, 8):
            await system.send(message("track", time, **order))
            await system.read()
        row = (await system.store.load([("orders", "user:u1")])).rows["orders", "user:u1"]
        assert row.value == '{"count":3,"revenue":6.0}'
        person = await system.person("user:u1")
        assert (person.first_seen, person.events, person.deleted) == (6.0, {"Order Completed": 3}, 5.0)


async def test_a_crash_between_erasing_and_publishing_is_made_good_by_the_next_process(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 1, userId="u1", traits={"plan": 1}), message("delete", 5, userId="u1"))
        await system.read()
        assert "user:u1" not in await published(system)  # the tombstone's own mark
        await system.eraser.step()
        deletion = (await system.store.deletions.every())[0]
        await system.eraser._erase(deletion)
        assert await states(system) == ["erased"]
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.eraser.step()
        assert await states(system) == ["done"]
        assert await system.store.marks.open("eraser") == []
        assert (await system.topic("person.profile"))[-1].message == Message("person.profile", b"user:u1", None)


async def test_after_such_a_crash_the_destinations_are_told_before_the_request_can_be_closed(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        system.store.deletions.destinations, system.store.deletions.deletable = {"crm": ("email",)}, {"crm"}
        await system.send(
            message("identify", 1, userId="u1", traits={"email": "a@b.c"}), message("delete", 5, userId="u1")
        )
        await system.read()
        await system.eraser.step()
        await system.eraser._erase((await system.store.deletions.every())[0])
    async with Embedded.open(tmp_path) as system:
        system.store.deletions.deletable = {"crm"}
        before = len(await system.topic("person.changed"))
        await system.eraser.step()
        assert await states(system) == ["erased"]
        assert await system.store.marks.open("eraser") == []
        assert [b'"deletion"' in (told.message.value or b"") for told in await system.topic("person.changed")][
            before:
        ] == [True]


async def test_the_key_of_an_anonymous_subject_that_had_been_published_is_nulled_too(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 1, anonymousId="a9", traits={"plan": 1}))
        await system.read()
        await system.send(
            message("delete", 5, userId="u1"), message("track", 3, userId="u1", anonymousId="a9", event="A")
        )
        await finish(system)
        assert await published(system) == {}


async def test_a_person_who_lost_a_deleted_subject_is_published_anew(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(
            message("identify", 1, anonymousId="a9", traits={"secret": 1}),
            message("identify", 2, userId="u1", anonymousId="a9", traits={"name": "Ann"}),
        )
        await system.read()
        assert (await published(system))["user:u1"]["traits"] == {"secret": 1, "name": "Ann"}
        await system.send(message("delete", 5, anonymousId="a9"))
        await finish(system)
        (person,) = (await published(system)).values()
        assert (person["subjects"], person["traits"]) == (["user:u1"], {"name": "Ann"})


async def test_a_held_delivery_of_a_deleted_person_is_erased_with_its_bytes(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["deletion", "examples.orders"])) as system:
        await ready(system)
        bad = {"event": "Order Completed", "properties": {"revenue": "x"}}
        await system.send(
            *[message("track", time, userId=user, **bad) for time, user in ((1, "u1"), (9, "u1"), (1, "u2"))]
        )
        await system.read()
        await system.send(message("delete", 5, userId="u1"))
        await finish(system)
        assert [(held.subject, held.time) for held in await system.store.held.page()] == [
            ("user:u1", 9.0),
            ("user:u2", 1.0),
        ]
        assert (await system.fates())["orders"] == {"held": 3, "left:erased": 1}


@pytest.mark.parametrize("named", [{"userId": "u1"}, {"anonymousId": "a9"}, {"userId": "u1", "anonymousId": "a9"}])
async def test_whoever_a_delete_names_is_forgotten_and_a_repeat_changes_nothing(tmp_path, named):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(
            message("identify", 1, userId="u1", traits={"plan": 1}),
            message("identify", 2, anonymousId="a9", traits={"a": 1}),
        )
        for _ in range(2):
            await system.send(message("delete", 5, **named))
            await finish(system)
        assert await states(system) == ["done"] * len(named)
        assert (await system.person("user:u1") is None) == ("userId" in named)
        assert (await system.person("anon:a9") is None) == ("anonymousId" in named)


async def test_a_publisher_that_read_before_the_erasure_leaves_a_null_at_the_end(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 1, userId="u1", traits={"secret": 1}))
        stall = stall_append(system, "profiles")
        step = asyncio.create_task(system.step("profiles"))
        await reached(stall, step)
        await system.send(message("delete", 5, userId="u1"))
        await system.read("audiences", "consent", "deletion")
        await system.eraser.step()
        await system.eraser.step()
        assert await states(system) == ["done"]
        stall.let_go()
        await step
        assert await published(system) == {}
