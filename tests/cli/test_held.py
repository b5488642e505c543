"""stream held: what a processor could not deal with is seen, mended, tried again, dropped."""

import json
import sys

import pytest

from tests.cli.conftest import NOW
from tests.embedded import message


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
    assert head.split() == ["ID", "PROCESSOR", "REASON", "WHERE", "SINCE", "ATTEMPTS"]
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
