"""A deletion against everything that may run beside it: each race, with its steps forced in that order."""

import asyncio
import re
from pathlib import Path

import pytest

import stream.store
from processors.profiles import Profiles
from stream.config import IdentityConfig
from tests.embedded import Embedded, config, message
from tests.engine.outcome import finish, published, ready
from tests.engine.stalls import reached, stall_commit

SCHEMA = Path(stream.store.__file__).with_name("schema.sql").read_text()
pytestmark = pytest.mark.usefixtures("each_store")


def profiles(name):
    projection = Profiles(IdentityConfig())
    projection.name = name
    return projection


@pytest.mark.parametrize("row", ["present", "absent"])
async def test_a_tombstone_that_comes_between_load_and_write_is_obeyed(tmp_path, row):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        if row == "present":
            await system.send(message("identify", 1, userId="u1", traits={"old": 1}))
            await system.read()
        await system.send(message("identify", 2, userId="u1", traits={"secret": 1}))
        stall = stall_commit(system, "profiles")
        step = asyncio.create_task(system.step("profiles"))
        await reached(stall, step)
        await system.send(message("delete", 5, userId="u1"))
        await system.read("deletion")
        stall.let_go()
        await step
        await system.read("profiles")
        before = {"applied": 1} if row == "present" else {}
        assert (await system.fates())["profiles"] == {**before, "skipped:deleted": 1}
        await finish(system)
        assert await system.person("user:u1") is None
        assert (await system.store.load([("profiles", "user:u1")])).rows["profiles", "user:u1"].value is None


async def test_an_erasure_between_load_and_write_of_something_younger_leaves_only_the_younger(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 1, userId="u1", traits={"old": 1}), message("delete", 5, userId="u1"))
        await system.read()
        await system.eraser.step()  # the ends are noted, and everybody has passed them
        await system.send(message("identify", 7, userId="u1", traits={"new": 1}))
        stall = stall_commit(system, "profiles")
        step = asyncio.create_task(system.step("profiles"))
        await reached(stall, step)
        await system.eraser.step()
        assert (await system.store.load([("profiles", "user:u1")])).rows["profiles", "user:u1"].value is None
        stall.let_go()
        await step
        value = (await system.store.load([("profiles", "user:u1")])).rows["profiles", "user:u1"].value
        assert value is not None and "old" not in value
        assert (await system.person("user:u1")).traits == {"new": 1}


async def test_a_row_that_was_erased_and_created_again_is_not_overwritten_from_an_old_copy(tmp_path):
    async with Embedded.open(tmp_path, more=[profiles("replay")]) as system:
        await ready(system)
        await system.send(message("identify", 1, userId="u1", traits={"old": 1}), message("delete", 5, userId="u1"))
        await system.read()
        await system.eraser.step()
        await system.send(message("identify", 7, userId="u1", traits={"new": 1}))
        stall = stall_commit(system, "replay")
        step = asyncio.create_task(system.step("replay"))
        await reached(stall, step)
        copied = (await system.store.load([("profiles", "user:u1")])).rows["profiles", "user:u1"].version
        await system.eraser.step()
        await system.send(message("identify", 8, userId="u1", traits={"newer": 1}))
        await system.read("profiles")
        created = (await system.store.load([("profiles", "user:u1")])).rows["profiles", "user:u1"].version
        assert created != copied
        stall.let_go()
        await step
        assert (await system.person("user:u1")).traits == {"new": 1, "newer": 1}
        assert system.around.metrics.conflicts.labels("replay")._value.get() == 1


@pytest.mark.parametrize("done", [False, True])
async def test_a_link_that_arrives_after_the_tombstone_of_one_side_extends_the_deletion(tmp_path, done):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(
            message("identify", 1, anonymousId="a9", traits={"plan": 1}), message("delete", 5, userId="u1")
        )
        await (finish(system) if done else system.read())
        assert (await system.person("anon:a9")).traits == {"plan": 1}
        await system.send(message("track", 3, userId="u1", anonymousId="a9", event="A"))
        await system.read("profiles")
        (request,) = await system.store.deletions.every()
        assert (request.state, request.subjects) == ("open", ("anon:a9", "user:u1") if not done else ("anon:a9",))
        await finish(system)
        assert await system.person("anon:a9") is None
        assert (await system.store.load([("profiles", "anon:a9")])).rows["profiles", "anon:a9"].value is None
        (request,) = await system.store.deletions.every()
        assert (request.state, request.subjects) == ("done", ())
        assert "anon:a9" not in await published(system)


async def test_an_identify_that_is_still_unread_when_the_delete_is_handled_gives_its_address_to_the_request(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        deletions = system.store.deletions
        deletions.destinations, deletions.deletable = {"crm": ("email",)}, {"crm"}
        await system.send(
            message("identify", 3, userId="u1", traits={"email": "Ann@b.c"}), message("delete", 5, userId="u1")
        )
        await system.read("deletion")
        await system.eraser.step()
        await system.eraser.step()
        (request,) = await deletions.every()
        assert (request.state, request.outstanding) == ("open", {})
        await system.read()
        (request,) = await deletions.every()
        assert (request.state, request.outstanding) == ("open", {"crm": ("email:ann@b.c",)})
        await system.settle()
        (request,) = await deletions.every()
        assert (request.state, request.outstanding) == ("erased", {"crm": ("email:ann@b.c",)})
        await system.store.db.writing(lambda tx: deletions.settled(tx, "crm", ["email:ann@b.c"], "deleted", 9.0))
        await finish(system)
        assert [request.state for request in await deletions.every()] == ["done"]
        assert not [cell for cell in await everything(system) if "ann@b.c" in cell.lower() or "user:u1" in cell]


async def test_an_older_identify_that_is_refused_after_the_delete_still_counts_as_a_link(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(
            message("identify", 2, anonymousId="a9", traits={"plan": 1, "email": "x@y.z"}),
            message("track", 9, anonymousId="a9", event="Returned"),
            message("delete", 5, userId="u1"),
        )
        await finish(system)
        assert "anon:a9" in await published(system)
        await system.send(message("identify", 3, userId="u1", anonymousId="a9", traits={"email": "a@b.c"}))
        await finish(system)
        assert (await system.fates())["profiles"]["skipped:deleted"] == 1
        person = await system.person("anon:a9")
        assert (person.traits, person.last_seen, person.subjects) == ({}, 9.0, ("anon:a9",))
        assert not [cell for cell in await everything(system) if "x@y.z" in cell or "a@b.c" in cell]
        assert (await published(system))["anon:a9"]["traits"] == {}


async def test_a_second_deletion_ends_what_was_linked_after_the_first_though_only_hashes_lead_there(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        for sent in (
            message("track", 1, userId="u1", anonymousId="a9", event="A"),
            message("delete", 2, userId="u1"),
            message("identify", 3, userId="u2", anonymousId="a9", traits={"plan": 1}),
            message("delete", 4, userId="u1"),
        ):
            await system.send(sent)
            await finish(system)
        assert (await published(system))["user:u2"]["subjects"] == ["user:u2"]
        assert "anon:a9" not in await everything(system)


async def test_a_deletion_that_comes_over_an_erased_alias_goes_on_over_living_ones(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, alias=True)) as system:
        await ready(system)
        for sent in (
            message("alias", 3, userId="u3", previousId="u2"),
            message("delete", 2, userId="u3"),
            message("alias", 1, userId="u3", previousId="u1"),
            message("delete", 4, userId="u1"),
        ):
            await system.send(sent)
            await finish(system)
        assert (await system.store.db.reading(lambda tx: system.store.people.tombstones(tx, ["user:u2"]))) == {
            "user:u2": 4.0
        }


async def everything(system):
    """Every cell of every table of the store, as text."""
    tables = re.findall(r"^CREATE TABLE (\w+)", SCHEMA, re.MULTILINE)
    assert "rows" in tables

    async def read(tx):
        return [str(cell) for table in tables for row in await tx.all(f"SELECT * FROM {table}") for cell in row]

    return await system.store.db.reading(read)
