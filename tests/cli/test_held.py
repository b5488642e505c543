"""stream held: what a processor could not deal with is seen, mended, tried again, dropped."""

import itertools
import json
import sys

import pytest

from stream.cli.text import when
from stream.message import Delivery, Message, Partition
from stream.store.held import Held
from stream.store.lanes import Lane
from tests.cli.conftest import NOW
from tests.embedded import message

CHANGED = Partition("person.changed", 0)


async def die(system, *deaths, user="ada"):
    """Tracks that `fragile` dies of, as `deaths` say: a reason of its own, or None for a bug."""
    for number, death in enumerate(deaths):
        properties = {"dead": death} if death else {}
        await system.send(message("track", NOW + number, userId=user, event="A", properties=properties))
    await system.read()


async def held(stream, *words):
    result = await stream("held", "list", "--json", *words)
    assert result.exit_code == 0, result.output
    return [(one["id"], one["reason"]) for one in json.loads(result.stdout)]


async def audit(system, user="ada"):
    found = await system.store.requests.audit(system.store.people.hash(f"user:{user}"))
    return [what for _, _, what, _ in found][::-1]


async def test_the_list_names_processor_reason_and_place_and_nobody(system, stream):
    await die(system, "odd", None)
    result = await stream("held", "list")
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["ID", "PROCESSOR", "REASON", "WHERE", "SINCE", "ATTEMPTS", "STATE", "NEXT", "TRY"]
    assert [line.split()[:3] for line in lines] == [["1", "fragile", "odd"], ["2", "fragile", "bug:KeyError"]]
    assert lines[0].split()[3].startswith("segment.track/")
    assert "ada" not in result.stdout


async def test_the_list_is_narrowed_and_paged(system, stream):
    await die(system, "odd", None, "odd", "odd")
    assert await held(stream, "--processor", "fragile", "--reason", "odd") == [(1, "odd"), (3, "odd"), (4, "odd")]
    assert await held(stream, "--processor", "profiles") == []
    assert await held(stream, "--limit", 2) == [(1, "odd"), (2, "bug:KeyError")]
    assert await held(stream, "--limit", 2, "--after", 2) == [(3, "odd"), (4, "odd")]
    assert "There are more: --after 3" in (await stream("held", "list", "--limit", 3)).stdout
    assert "There are more" not in (await stream("held", "list", "--limit", 4)).stdout
    assert (await stream("held", "list", "--reason", "none")).stdout == "nothing is held\n"


async def test_one_is_shown_with_its_bytes_and_traceback_and_audited(system, stream):
    await die(system, None)
    [delivery] = await system.topic("segment.track")
    found = json.loads((await stream("held", "show", 1, "--json")).stdout)
    assert found["message"]["value"].encode() == delivery.message.value
    assert found["subject"] == "user:ada"
    assert "KeyError: 'amount'" in found["trace"]
    assert found["held"]["attempts"] == 1
    shown = (await stream("held", "show", 1)).stdout
    assert "reason     bug:KeyError" in shown and "KeyError: 'amount'" in shown
    assert await audit(system) == ["held show 1", "held show 1"]


async def test_a_mended_delivery_is_retried_with_the_new_bytes_and_leaves(system, stream, carried_out, folder):
    await die(system, None)
    mended = folder / "mended.json"
    mended.write_text('{"type":"track","userId":"ada","event":"A","properties":{"amount":5}}')
    edited = await stream("held", "edit", 1, "--file", mended)
    assert edited.exit_code == 0, edited.output
    assert "To try them: stream held retry 1" in edited.stdout
    assert "edited     {" in (await stream("held", "show", 1)).stdout
    result = await carried_out(stream("held", "retry", 1))
    assert (result.exit_code, result.stdout) == (0, "1: applied\n")
    assert await held(stream) == []
    assert (await system.fates())["fragile"] == {"held": 1, "left:applied": 1}
    assert await audit(system) == ["held edit 1", "held show 1", "held retry 1"]


async def test_what_dies_again_stays_and_the_exit_code_says_so(system, stream, carried_out):
    await die(system, None)
    result = await carried_out(stream("held", "retry", 1, "--json"))
    assert result.exit_code == 1
    assert [(a["about"], a["state"], a["result"]) for a in json.loads(result.stdout)] == [
        ("1", "not done", "held:bug:KeyError")
    ]
    assert await held(stream) == [(1, "bug:KeyError")]


async def test_all_of_a_processor_are_retried_in_order_and_summed_up(system, stream, carried_out):
    await die(system, "odd", None, "odd")
    ids = [1, 3]
    for number in ids:
        value = json.dumps({"type": "track", "userId": "ada", "properties": {"amount": number}})
        assert (await stream("held", "edit", number, "--file", "-", input=value)).exit_code == 0
    result = await carried_out(stream("held", "retry", "--processor", "fragile"))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["1, 3: applied", "2: held:bug:KeyError"]
    again = await carried_out(stream("held", "retry", "--reason", "odd"))
    assert (again.exit_code, again.stderr) == (1, "Error: nothing is held there; `stream held list` shows what is\n")


async def test_a_request_is_kept_when_no_process_runs_and_done_by_the_next(system, stream, carried_out):
    await die(system, "odd", "odd")
    result = await stream("held", "drop", 1, 2, "--reason", "ours", "--wait", 0)
    assert result.exit_code == 1
    assert result.stdout.startswith("1, 2: kept, not done yet: no running process took it up in time.")
    assert await held(stream) == [(1, "odd"), (2, "odd")]
    await carried_out(stream("resume", "fragile"))
    assert await held(stream) == []


async def test_dropping_needs_a_reason_which_is_audited(system, stream, carried_out):
    await die(system, "odd")
    assert (await stream("held", "drop", 1)).exit_code == 2
    assert (await stream("held", "drop", 1, "--reason", " ")).exit_code == 2
    result = await carried_out(stream("held", "drop", 1, "--reason", "a test of ours"))
    assert (result.exit_code, result.stdout) == (0, "1: dropped\n")
    assert (await system.fates())["fragile"] == {"held": 1, "left:dropped": 1}
    assert await audit(system) == ["held drop 1: a test of ours"]


async def wait(system, user, *reasons, attempts=0, due=NOW):
    """What a runner keeps of a person whose deliveries failed: the first with its reason, others behind it."""
    store, subject = system.store, f"user:{user}"
    offsets = itertools.count(len(await store.held.page()))
    rows = [
        Held(
            processor="audiences.crm",
            delivery=Delivery(Message("person.changed", subject.encode(), b"{}"), CHANGED, next(offsets), NOW),
            lane=subject,
            subject=subject,
            time=NOW,
            reason=reason,
            state="waiting",
            since=NOW,
        )
        for reason in reasons
    ]
    lane = Lane(name=subject, partition=CHANGED, attempts=attempts, due=due, reason=reasons[0], since=NOW)

    async def write(tx):
        await store.held.add(tx, rows)
        await store.lanes.put(tx, "audiences.crm", lane)

    await store.db.writing(write)


async def test_what_waits_says_when_it_is_tried_next_and_what_is_dead_does_not(system, stream):
    await die(system, "odd")
    await wait(system, "bob", "http_503", "behind", attempts=3, due=NOW + 60)
    found = json.loads((await stream("held", "list", "--json")).stdout)
    assert [(one["state"], one["lane"] and one["lane"]["next"] - NOW) for one in found] == [
        ("dead", None),
        ("waiting", 60.0),
        ("waiting", 60.0),
    ]
    assert found[1]["lane"] == {"attempts": 3, "reason": "http_503", "next": NOW + 60}
    assert await held(stream, "--state", "dead") == [(1, "odd")]
    assert await held(stream, "--state", "waiting", "--reason", "behind") == [(3, "behind")]
    assert await held(stream, "--state", "waiting", "--processor", "fragile") == []
    shown = (await stream("held", "show", 3)).stdout
    assert f"lane       next try {when(NOW + 60)}, attempts: 3, http_503\n" in shown
    assert "bob" not in (await stream("held", "list")).stdout


async def test_lanes_are_told_by_whose_turn_is_next_and_name_nobody(system, stream):
    await wait(system, "bob", "http_503", "behind", attempts=3, due=NOW + 60)
    await wait(system, "eve", "http_400", attempts=1, due=NOW + 5)
    result = await stream("held", "list", "--lanes")
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["FIRST", "PROCESSOR", "WAITING", "ATTEMPTS", "NEXT", "TRY", "REASON", "SINCE"]
    assert [line.split() for line in lines] == [
        ["3", "audiences.crm", "1", "1", when(NOW + 5), "http_400", when(NOW)],
        ["1", "audiences.crm", "2", "3", when(NOW + 60), "http_503", when(NOW)],
    ]
    narrowed = json.loads((await stream("held", "list", "--lanes", "--reason", "http_503", "--json")).stdout)
    assert [(one["first"], one["waiting"]) for one in narrowed] == [(1, 2)]
    assert (await stream("held", "list", "--lanes", "--processor", "none")).stdout == "no lane is held\n"
    assert "There are more: --limit" in (await stream("held", "list", "--lanes", "--limit", 1)).stdout
    assert (await stream("held", "list", "--lanes", "--state", "dead")).exit_code == 2


async def test_all_of_a_person_is_retried_in_order_under_all_linked_ids_and_nothing_of_others(
    system, stream, carried_out
):
    await system.send(message("identify", NOW - 1, userId="ada", anonymousId="9"))
    await die(system, None, "odd")
    await die(system, "odd", user="eve")
    await system.send(message("track", NOW + 9, anonymousId="9", event="A"))
    await system.read()
    result = await carried_out(stream("held", "retry", "--person", "ada"))
    assert (result.exit_code, result.stdout.splitlines()) == (1, ["1, 4: held:bug:KeyError", "2: held:odd"])
    assert await audit(system, "eve") == []
    narrowed = await carried_out(stream("held", "retry", "--person", "anon:9", "--reason", "odd"))
    assert narrowed.stdout == "2: held:odd\n"
    nobody = await stream("held", "retry", "--person", "bob")
    assert (nobody.exit_code, nobody.stderr) == (1, "Error: nothing is held there; `stream held list` shows what is\n")


async def test_of_a_lane_only_the_last_is_asked_for_since_those_before_it_come_first(system, stream):
    await wait(system, "bob", "http_503", "behind", "behind")
    await wait(system, "eve", "http_503")
    await die(system, "odd", "odd")
    result = await stream("held", "retry", "--all", "--wait", 0, "--json")
    assert [one["about"] for one in json.loads(result.stdout)] == ["3 and 2 before it", "4", "5", "6"]
    assert [one.args["id"] for one in await system.store.requests.open()] == [3, 4, 5, 6]
    assert await audit(system, "bob") == ["held retry 1", "held retry 2", "held retry 3"]


async def test_all_that_is_held_is_retried_a_page_at_a_time(system, stream, carried_out, monkeypatch):
    monkeypatch.setattr("stream.cli.mend._PAGE", 2)
    await die(system, "odd", "odd", None)
    result = await carried_out(stream("held", "retry", "--all"))
    assert (result.exit_code, result.stdout.splitlines()) == (1, ["1, 2: held:odd", "3: held:bug:KeyError"])
    assert await audit(system) == ["held retry 1", "held retry 2", "held retry 3"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'{"a": ', "not JSON: Expecting value: line 1 column 7"),
        (b"[1]", "an event is a JSON object"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
async def test_what_is_no_event_is_not_kept(system, stream, value, said):
    await die(system, "odd")
    result = await stream("held", "edit", 1, "--file", "-", input=value)
    assert result.exit_code == 1
    assert said in result.stderr
    assert (await system.store.held.get(1)).edited is None


async def test_the_editor_opens_on_the_bytes_and_what_it_saves_is_kept(system, stream, folder, monkeypatch):
    await die(system, None)
    editor = folder / "editor.py"
    editor.write_text(
        "import sys; f = sys.argv[1]; t = open(f).read(); open(f, 'w').write(t.replace('{}', '{\"amount\":2}'))"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    result = await stream("held", "edit", 1)
    assert result.exit_code == 0, result.output
    assert json.loads((await system.store.held.get(1)).edited)["properties"] == {"amount": 2}
    monkeypatch.setenv("VISUAL", "true")
    unsaved = await stream("held", "edit", 1)
    assert (unsaved.exit_code, unsaved.stderr) == (1, "Error: the editor saved nothing; nothing was kept\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", 7], 1, "7 is not held; `stream held list` shows what is"),
        (["retry", 7], 1, "7 is not held"),
        (["retry"], 2, "which ones?"),
        (["retry", 7, "--processor", "fragile"], 2, "which ones?"),
        (["retry", 7, "--all"], 2, "which ones?"),
        (["edit", 7, "--file", "-"], 1, "7 is not held"),
    ],
)
async def test_what_is_not_held_is_named(system, stream, words, code, said):
    result = await stream("held", *words)
    assert result.exit_code == code
    assert said in result.stderr


async def test_where_there_is_no_state_it_says_which_file_it_looked_for(stream, folder):
    result = await stream("held", "list")
    assert result.exit_code == 1
    assert result.stderr == f"Error: there is no state at {folder}/state.db; `stream run` makes it\n"
    assert not (folder / "state.db").exists()
