"""stream forget, deletions, resume."""

import json

import pytest

from tests.cli.conftest import NOW
from tests.embedded import message


async def known(system):
    await system.send(message("identify", NOW - 9, userId="ada", anonymousId="9", traits={"email": "ada@b.c"}))
    await system.settle()


async def test_it_waits_until_all_of_it_is_erased_and_names_the_receipt(system, stream, carried_out):
    await known(system)
    result = await carried_out(stream("forget", "ada", "--yes", "--json"))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["state"], found["erased"] > 0, found["reason"]) == ("done", True, None)
    assert await system.person("user:ada") is None
    assert await system.person("anon:9") is None
    [deletion] = await system.store.deletions.every()
    assert (deletion.id, deletion.authority, deletion.state) == (found["deletion"], "operator", "done")
    audit = await system.store.requests.audit(system.store.people.hash("user:ada"))
    assert [what for _, _, what, _ in audit] == ["forget"]
    [request] = [await system.store.requests.get(found["request"])]
    assert request.args == {}


async def test_an_anonymous_id_is_forgotten_alone_and_in_its_space(system, stream, carried_out):
    await known(system)
    await system.send(message("track", NOW - 5, {"space": "staging"}, anonymousId="9", event="A"))
    await system.settle()
    assert (await carried_out(stream("forget", "staging/anon:9", "--yes"))).exit_code == 0
    assert await system.person("staging/anon:9") is None
    assert await system.person("anon:9") is not None
    assert (await carried_out(stream("forget", "anon:9", "--yes"))).exit_code == 0
    assert (await system.person("user:ada")).subjects == ("user:ada",)


async def test_it_asks_first_and_names_who_would_be_forgotten(system, stream):
    await known(system)
    result = await stream("forget", "ada", input="n\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("user:ada, with anon:9. Forget for good? [y/N]:")
    assert await system.store.requests.open() == []
    stranger = await stream("forget", "bob", input="n\n")
    assert "user:bob. Nothing is known of them yet. Forget for good?" in stranger.stderr


async def test_with_no_process_the_request_is_kept_and_done_later(system, stream, carried_out):
    await known(system)
    result = await stream("forget", "ada", "--yes", "--wait", 0)
    assert result.exit_code == 1
    assert result.stdout.startswith("kept as request 1, not done yet: no running process took it up.")
    assert await system.person("user:ada") is not None
    await carried_out(stream("resume", "profiles"))
    assert await system.person("user:ada") is None


@pytest.mark.slow
async def test_when_time_is_up_it_says_how_far_it_is(system, stream, carried_out):
    await known(system)
    system.projectors.pop("fragile")  # it never runs, so the erasure has to wait for it
    await system.send(message("track", NOW - 1, userId="x", event="A", properties={"amount": 1}))
    result = await carried_out(stream("forget", "ada", "--yes", "--wait", 1))
    assert result.exit_code == 1
    [deletion] = await system.store.deletions.every()
    assert result.stdout == f"open, not done yet. What it waits for: stream deletions show {deletion.id}\n"

    listed = json.loads((await stream("deletions", "list", "--json")).stdout)
    assert [(one["id"], one["state"], one["waits_for"]) for one in listed] == [
        (deletion.id, "open", "fragile to read on")
    ]
    shown = json.loads((await stream("deletions", "show", deletion.id, "--json")).stdout)
    assert shown["deletion"]["subjects"] == ["anon:9", "user:ada"]
    assert sum(shown["ends"].values()) == 3
    text = (await stream("deletions", "show", deletion.id)).stdout
    assert "state      open, waits for fragile to read on" in text and "subject    user:ada" in text


@pytest.mark.parametrize("identifier", ["group:acme", "message:m", ""])
async def test_only_people_can_be_forgotten(system, stream, identifier):
    assert (await stream("forget", identifier, "--yes")).exit_code == 2


async def test_deletions_are_listed_without_whom_they_are_about(system, stream):
    assert (await stream("deletions")).stdout == "there are no deletions\n"
    await known(system)
    await system.send(message("delete", NOW, userId="ada", messageId="d1"))
    await system.settle()
    await system.send(message("delete", NOW, userId="bob", messageId="d2"))
    await system.read()
    result = await stream("deletions")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1][:3] == ["d1", "done", "segment"]
    assert rows[2][:3] == ["d2", "open", "segment"] and rows[2][-3:] == ["the", "running", "process"]
    assert "ada" not in result.stdout
    assert [one["id"] for one in json.loads((await stream("deletions", "list", "--open", "--json")).stdout)] == ["d2"]
    receipt = (await stream("deletions", "show", "d1")).stdout
    assert system.store.people.hash("user:ada") in receipt and "user:ada" not in receipt
    assert (await stream("deletions", "show", "d3")).exit_code == 1


async def test_what_destinations_must_still_delete_is_shown_and_then_their_receipts(system, stream):
    deletions, crm = system.store.deletions, "email:ada@b.c"
    deletions.destinations, deletions.deletable = {"crm": ("email",), "ads": ("user_id",)}, {"crm", "ads"}
    await known(system)
    await system.send(message("delete", NOW, userId="ada", messageId="d1"))
    await system.settle()
    await system.store.db.writing(lambda tx: deletions.settled(tx, "ads", ["user_id:ada"], "deleted", NOW + 5))
    listed = json.loads((await stream("deletions", "list", "--json")).stdout)
    assert [(one["state"], one["outstanding"], one["waits_for"]) for one in listed] == [
        ("erased", {"crm": 1}, "crm to delete")
    ]
    assert (await stream("deletions")).stdout.splitlines()[1].endswith("crm to delete")
    lines = (await stream("deletions", "show", "d1")).stdout.splitlines()
    assert "state      erased, waits for crm to delete" in lines
    assert f"open       crm has still to delete {crm}" in lines
    hashed = system.store.people.hash
    ads = f"receipt    ads deleted 2023-11-14T22:13:25.000Z, address {hashed('user_id:ada')}"
    assert ads in lines

    await system.store.db.writing(lambda tx: deletions.settled(tx, "crm", [crm], "deleted", NOW + 6))
    await system.settle()
    result = await stream("deletions", "show", "d1")
    assert "ada" not in result.stdout
    assert result.stdout.splitlines()[-2:] == [
        ads,
        f"receipt    crm deleted 2023-11-14T22:13:26.000Z, address {hashed(crm)}",
    ]
    shown = json.loads((await stream("deletions", "show", "d1", "--json")).stdout)["deletion"]
    assert (shown["outstanding"], [one["destination"] for one in shown["receipts"]]) == ({}, ["ads", "crm"])


async def test_a_processor_that_is_not_configured_cannot_be_resumed(system, stream):
    result = await stream("resume", "profile")
    assert result.exit_code == 2
    assert "there is no processor profile; there are: profiles, audiences, consent, deletion, fragile" in result.stderr


async def test_a_stopped_processor_is_shown_with_its_reason_and_resumed(system, stream, carried_out):
    await system.store.positions.stop("fragile", "most of its last deliveries died (bug:KeyError)", NOW)
    text = (await stream("lag")).stdout
    assert (
        "fragile stopped: most of its last deliveries died (bug:KeyError). After a fix: stream resume fragile" in text
    )
    result = await carried_out(stream("resume", "fragile"))
    assert result.exit_code == 0, result.output
    assert await system.store.positions.stops() == {}
