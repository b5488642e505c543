"""stream tail"""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from stream import topics
from stream.message import Message
from tests.cli.conftest import NOW
from tests.embedded import message

ROOT = Path(__file__).parents[2]


def values(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line)["value"] for line in result.stdout.splitlines()]


async def tracks(system, *names, **more):
    for name in names:
        system.around.clock.now += 1
        await system.send(message("track", system.around.clock.now, event=name, **{"userId": f"u-{name}", **more}))


def events(result):
    return [json.loads(value)["event"] for value in values(result)]


async def test_it_shows_the_last_messages_in_the_order_they_were_taken(system, stream):
    await tracks(system, *(f"e{n}" for n in range(15)))
    assert events(await stream("tail", "segment.track", "--json")) == [f"e{n}" for n in range(5, 15)]
    assert events(await stream("tail", "track", "--json", "--limit", 2)) == ["e13", "e14"]
    assert events(await stream("tail", "track", "--json", "--limit", 99)) == [f"e{n}" for n in range(15)]


async def test_a_line_says_when_where_whose_from_where_and_the_very_bytes(system, stream):
    body = b'{"event":  "A"}'
    known = (("source", b"web"), ("signed", b"0"), ("content-type", b"text/plain"))
    await system.send(Message("segment.track", b"ada", body, known))
    result = await stream("tail", "track")
    [(at, offset)] = [(d.partition.number, d.offset) for d in await system.topic("segment.track")]
    assert result.stdout == f'2023-11-14T22:13:20.000Z  {at}/{offset}  ada  source=web unsigned  {{"event":  "A"}}\n'


async def test_bytes_that_are_broken_are_shown_safely_and_in_json_whole(system, stream):
    broken = b'{"a":"\x1b[2J\xff"}'
    await system.send(Message(topics.INVALID, b"k\x07", broken, (("reason", b"not_utf8"),)))
    line = (await stream("tail", "segment.invalid")).stdout
    assert line.endswith('k\\x07  reason=not_utf8  {"a":"\\x1b[2J\\xff"}\n')
    found = json.loads((await stream("tail", "segment.invalid", "--json")).stdout)
    assert found["base64"] == "eyJhIjoiG1sySv8ifQ=="


async def test_since_starts_at_a_time_and_ends_after_the_limit(system, stream):
    await tracks(system, *(f"e{n}" for n in range(6)))
    since = "2023-11-14T22:13:23Z"  # NOW + 3
    assert events(await stream("tail", "track", "--json", "--since", since)) == ["e2", "e3", "e4", "e5"]
    assert events(await stream("tail", "track", "--json", "--since", since, "--limit", 2)) == ["e2", "e3"]


async def test_it_filters_on_a_person_under_all_linked_ids_and_leaves_a_line_of_audit(system, stream):
    await system.send(message("identify", NOW, userId="ada", anonymousId="9"))
    await tracks(system, "as-user", userId="ada")
    await tracks(system, "as-anonymous", userId=None, anonymousId="9")
    await tracks(system, "somebody-else", userId="bob")
    await system.read()
    assert events(await stream("tail", "track", "--json", "--person", "ada")) == ["as-user", "as-anonymous"]
    assert events(await stream("tail", "track", "--json", "--person", "anon:9")) == ["as-user", "as-anonymous"]
    assert events(await stream("tail", "track", "--json", "--person", "ada", "--event", "as-user")) == ["as-user"]
    audit = await system.store.requests.audit(system.store.people.hash("user:ada"))
    assert [what for _, _, what, _ in audit] == ["tail segment.track"] * 2
    changed = await stream("tail", "person.changed", "--json", "--person", "anon:9")
    assert {json.loads(line)["key"] for line in changed.stdout.splitlines()} == {"user:ada"}


async def test_it_finds_the_last_of_a_rare_event_far_back(system, stream):
    await tracks(system, "rare")
    await system.send(*(message("track", NOW + 9, event="common", userId=f"u{n % 50}") for n in range(6_000)))
    assert events(await stream("tail", "track", "--json", "--event", "rare")) == ["rare"]
    assert events(await stream("tail", "track", "--json", "--event", "common", "--limit", 2)) == ["common"] * 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "there is no topic nope; there are: segment.track"),
        (["segment.invalid", "--person", "ada"], "segment.invalid cannot be searched for a person"),
        (["person.changed", "--event", "A"], "person.changed cannot be searched for an event"),
        (["track", "--since", "yesterday"], "'yesterday' is neither a time"),
    ],
)
async def test_what_cannot_be_shown_is_used_wrongly(system, stream, words, said):
    result = await stream("tail", *words)
    assert result.exit_code == 2
    assert said in result.stderr


async def test_where_there_is_no_log_it_says_which_file_it_looked_for(stream, folder):
    result = await stream("tail", "track")
    assert result.exit_code == 1
    assert result.stderr == f"Error: there is no log at {folder}/log.db; `stream run` makes one\n"
    assert not (folder / "log.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("since", [(), ("--since", "2023-11-14T22:13:22Z")])
async def test_it_follows_what_another_process_appends_until_it_is_interrupted(system, folder, since):
    await tracks(system, "e0", "e1", "e2")
    words = ("--config", folder / "stream.toml", "tail", "track", "--follow", "--json", *since)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", *map(str, words)), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    expected = ["e1", "e2", "e3", "e4"] if since else ["e0", "e1", "e2", "e3", "e4"]
    found = [await process.stdout.readline() for _ in expected[:-2]]
    await tracks(system, "e3")
    found.append(await process.stdout.readline())
    await tracks(system, "e4")
    found.append(await process.stdout.readline())
    assert [json.loads(json.loads(line)["value"])["event"] for line in found] == expected
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0
