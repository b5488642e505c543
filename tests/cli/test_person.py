"""stream person: what is known of somebody, whole, and who looked."""

import json
import stat

import pytest
from msgspec import structs

from stream.message import Message
from stream.store.confirmed import Told
from tests.cli.conftest import NOW
from tests.embedded import message

PERSONAS = {"computation_class": "audience", "computation_key": "vip", "space_id": "spa", "computation_id": "aud_1"}


async def known(system):
    """Ada: identified on a device that was anonymous before, in an audience, consenting."""
    consent = {"consent": {"categoryPreferences": {"Advertising": True, "Analytics": False}}}
    await system.send(
        message("track", NOW - 9, anonymousId="9", event="Seen", properties={"amount": 3}),
        message("identify", NOW - 8, userId="ada", anonymousId="9", traits={"email": "ada@b.c"}, context=consent),
        message("identify", NOW - 7, userId="ada", traits={"vip": True}, context={"personas": PERSONAS}),
    )
    await system.settle()


async def test_it_shows_profile_memberships_consents_with_proof_and_linked_ids(system, stream):
    await known(system)
    result = await stream("person", "anon:9", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["key"], found["subjects"], found["deleted"]) == ("user:ada", ["anon:9", "user:ada"], None)
    assert found["linked"] == [{"subject": "anon:9", "owner": "user:ada", "since": NOW - 8}]
    assert found["person"]["traits"]["email"] == "ada@b.c"
    assert found["person"]["audiences"]["spa/vip"]["member"] is True
    advertising = found["person"]["consents"]["Advertising"]
    assert advertising["status"] == "yes"
    assert advertising["proofs"][0]["message_id"] == f"identify-{NOW - 8}-ada-9"
    assert found["rows"] == {"totals": {"anon:9": {"sum": 3}}}


async def test_for_the_eye_it_says_the_same(system, stream):
    await known(system)
    lines = (await stream("person", "ada")).stdout.splitlines()
    assert lines[0] == "user:ada"
    assert "  linked      anon:9 is user:ada since 2023-11-14T22:13:12.000Z" in lines
    assert "    email  ada@b.c" in lines
    assert "    spa/vip  in since 2023-11-14T22:13:13.000Z (audience)" in lines
    assert any(
        line.startswith("    Analytics    no  ") and f"identify-{NOW - 8}-ada-9 of test" in line for line in lines
    )
    assert '    anon:9  {"sum": 3}' in lines


async def test_it_shows_what_each_destination_was_told_and_what_it_answered(system, stream, folder):
    with (folder / "stream.toml").open("a") as file:
        file.write('[connectors.ads]\nconnector = "webhook"\n')
    store = system.store
    store.deletions.destinations, store.deletions.deletable = {"crm": ("email",), "ads": ("email",)}, {"crm"}
    vip = Told(
        destination="crm",
        address="email:ada@b.c",
        thing="list:vip",
        verb="set_membership",
        processor="audiences.crm",
        subject="user:ada",
    )
    shared = structs.replace(vip, destination="ads", thing="profile", subject="user:bob")
    await known(system)

    async def write(tx):
        await store.confirmed.take(tx, [vip, shared], "lease", NOW, NOW + 9)
        await store.confirmed.confirm(tx, "lease", {vip.key: "true"}, NOW + 1)

    await store.db.writing(write)
    found = json.loads((await stream("person", "ada", "--json")).stdout)
    assert [(one["destination"], one["thing"], one["known"], one["value"]) for one in found["confirmed"]] == [
        ("ads", "profile", False, None),
        ("crm", "list:vip", True, True),
    ]
    lines = (await stream("person", "ada")).stdout.splitlines()
    assert "    ads email:ada@b.c profile   not known: it is being told, or was unclear" in lines
    assert "    crm email:ada@b.c list:vip  true, told 2023-11-14T22:13:21.000Z" in lines

    await system.send(message("delete", NOW, userId="ada", messageId="d1"))
    await system.settle()
    lines = (await stream("person", "ada")).stdout.splitlines()
    assert "      open       crm has still to delete email:ada@b.c" in lines
    await store.db.writing(lambda tx: store.deletions.settled(tx, "crm", ["email:ada@b.c"], "deleted", NOW + 5))
    await system.settle()
    result = await stream("person", "ada")
    hashed = store.people.hash("email:ada@b.c")
    assert f"      receipt    crm deleted 2023-11-14T22:13:25.000Z, address {hashed}" in result.stdout
    assert "ada@b.c" not in result.stdout
    assert (await stream("person", "ada", "--export", folder / "ada.json")).exit_code == 0
    [request] = json.loads((folder / "ada.json").read_text())["found"]["deletions"]
    assert [(one["destination"], one["outcome"]) for one in request["receipts"]] == [
        ("ads", "unsupported"),
        ("crm", "deleted"),
    ]


async def test_proofs_stand_below_each_other_however_long_the_answer_before_them_is(system, stream):
    messaging = [
        {"key": "a@b.c", "type": "EMAIL", "status": "UNSUBSCRIBED"},
        {"key": "1", "type": "SMS", "status": "SUBSCRIBED"},
    ]
    await system.send(message("identify", NOW, userId="ada", context={"messaging_subscriptions": messaging}))
    await system.settle()
    lines = [line for line in (await stream("person", "ada")).stdout.splitlines() if " of test at " in line]
    assert {line.split()[1] for line in lines} == {"subscribed", "unsubscribed"}
    assert len({line.index("identify") for line in lines}) == 1


async def test_each_look_leaves_a_line_of_audit_that_names_nobody(system, stream):
    await known(system)
    await stream("person", "ada")
    [(_, who, what, hashed)] = await system.store.requests.audit()
    assert what == "person" and "@" in who
    assert hashed == system.store.people.hash("user:ada")


async def test_somebody_of_whom_nothing_is_known_is_said_to_be_so(system, stream):
    result = await stream("person", "nobody", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: nothing is known of user:nobody; an anonymous id is named anon:ID\n"


async def test_a_deleted_person_says_when(system, stream):
    await known(system)
    await system.send(message("delete", NOW, userId="ada"))
    await system.settle()
    for one in ("ada", "anon:9"):
        result = await stream("person", one)
        assert result.exit_code == 0, result.output
        when = "2023-11-14T22:13:20.000Z"
        assert f"  deleted     {when}: nothing older is remembered, and nothing is left" in result.stdout
        assert "ada@b.c" not in result.stdout
        assert "  deletions\n" in result.stdout


async def test_a_person_of_a_space_is_another_one(system, stream):
    await system.send(message("identify", NOW, {"space": "staging"}, userId="ada", traits={"a": 1}))
    await system.settle()
    assert (await stream("person", "ada")).exit_code == 1
    for words in (("ada", "--space", "staging"), ("staging/user:ada",)):
        found = json.loads((await stream("person", *words, "--json")).stdout)
        assert found["key"] == "staging/user:ada"


async def test_an_export_holds_everything_but_secrets_for_its_owner_alone(system, stream, folder):
    await known(system)
    body = b'{"writeKey": "old-key", "userId":"ada", "context":{"k":"web-write-key"}, "properties":{"dead":"odd"}}'
    await system.send(Message("segment.track", b"ada", body, (("source", b"web"), ("path", b"sdk"))))
    await system.read()
    file = folder / "ada.json"
    result = await stream("person", "ada", "--export", file)
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    whole = json.loads(file.read_text())
    assert set(whole["rows"]) == {"profiles", "audiences", "consent", "totals"}
    assert whole["found"]["linked"][0]["subject"] == "anon:9"
    assert [one["what"] for one in whole["audit"]] == ["person --export"]
    [held] = whole["held"]
    assert held["message"]["value"] == body.decode().replace("old-key", "[removed]").replace(
        "web-write-key", "[removed]"
    )
    assert whole["log_retention_days"] == 14.0

    again = await stream("person", "ada", "--export", file)
    assert (again.exit_code, again.stderr) == (1, f"Error: {file} exists already: name another file\n")


async def test_an_export_holds_the_receipt_of_a_deletion_and_what_came_after(system, stream, folder):
    await known(system)
    await system.send(message("delete", NOW, userId="ada"))
    await system.settle()
    system.around.clock.now += 10
    await system.send(message("identify", NOW + 10, userId="ada", traits={"back": True}))
    await system.settle()
    assert (await stream("person", "ada", "--export", folder / "ada.json")).exit_code == 0
    whole = json.loads((folder / "ada.json").read_text())
    assert whole["tombstones"] == {"user:ada": NOW}
    [receipt] = whole["found"]["deletions"]
    assert (receipt["state"], receipt["subjects"], receipt["time"]) == ("done", [], NOW)
    assert whole["found"]["person"]["traits"] == {"back": True}


async def test_links_that_moved_are_listed_with_whom_they_belong_to(system, stream):
    await system.send(
        message("identify", NOW - 2, userId="ada", anonymousId="9"),
        message("identify", NOW - 1, userId="bob", anonymousId="9"),
    )
    await system.settle()
    found = json.loads((await stream("person", "--unlinked", "--json")).stdout)
    assert found == [
        {
            "subject": "anon:9",
            "other": "user:bob",
            "first": NOW - 1,
            "last": NOW - 1,
            "why": "moved",
            "owner": "user:ada",
        }
    ]
    assert "moved  user:ada" in (await stream("person", "--unlinked")).stdout
    assert [what for _, _, what, _ in await system.store.requests.audit()] == ["person --unlinked"] * 2


async def test_links_that_are_shared_or_refused_are_listed(system, stream, folder):
    await system.send(
        message("identify", NOW - 3, userId="one", anonymousId="kiosk"),
        message("identify", NOW - 2, userId="two", anonymousId="kiosk"),
        message("identify", NOW - 1, userId="test", anonymousId="8"),
        message("identify", NOW - 1, userId="gone", anonymousId="7"),
        message("identify", NOW - 1, userId="gone-too", anonymousId="7"),
    )
    await system.settle()
    await system.send(message("delete", NOW, userId="gone"), message("delete", NOW, userId="gone-too"))
    await system.read()  # not erased yet, and named no more
    identity = '[identity]\nmax_links = 1\nnever_link = ["test"]\n'
    (folder / "stream.toml").write_text((folder / "stream.toml").read_text() + identity)
    found = json.loads((await stream("person", "--unlinked", "--json")).stdout)
    assert [(one["subject"], one["other"], one["why"], one["owner"]) for one in found] == [
        ("anon:8", "user:test", "refused", None),
        ("anon:kiosk", "user:one", "shared", None),
        ("anon:kiosk", "user:two", "shared", None),
    ]


async def test_links_of_what_stands_for_nobody_are_listed_as_refused(system, stream):
    await system.send(
        message("identify", NOW - 2, userId="ada", anonymousId="null"),
        message("track", NOW - 1, userId="anonymous", anonymousId="9", event="Seen", properties={"amount": 1}),
    )
    await system.settle()
    found = json.loads((await stream("person", "--unlinked", "--json")).stdout)
    assert [(one["subject"], one["other"], one["why"]) for one in found] == [
        ("anon:9", "user:anonymous", "refused"),
        ("anon:null", "user:ada", "refused"),
    ]


async def test_where_every_link_counts_it_says_so(system, stream):
    await known(system)
    assert (await stream("person", "--unlinked")).stdout == "every link counts\n"


@pytest.mark.parametrize("words", [[], ["ada", "--unlinked"], ["--unlinked", "--export", "x"], [""]])
async def test_it_is_about_one_person_or_about_links(system, stream, words):
    assert (await stream("person", *words)).exit_code == 2
