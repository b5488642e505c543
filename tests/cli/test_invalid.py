"""stream invalid: what could not be understood is listed, and routed again after a fix."""

import json

import pytest

from stream import topics
from stream.message import Message


async def keep(system, *messages):
    """Messages of segment.invalid, one second apart, each with its reason."""
    for reason, value in messages:
        system.around.clock.now += 1
        known = {
            "source": b"web",
            "path": b"destination",
            "received": b"1.0",
            "signed": b"0",
            "reason": reason.encode(),
        }
        await system.send(Message(topics.INVALID, value, value, tuple(known.items())))


async def listed(stream, *words):
    result = await stream("invalid", "list", "--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


TRACK = b'{"type":"track","userId":"ada","event":"A","messageId":"m"}'


async def test_the_list_says_where_when_why_from_which_source_and_how_it_begins(system, stream):
    await keep(system, ("not_json", b'{"a\x1b' + b"x" * 500))
    [delivery] = await system.topic(topics.INVALID)
    result = await stream("invalid", "list")
    assert result.stdout.splitlines()[0].split() == ["WHERE", "TAKEN", "REASON", "SOURCE", "BYTES", "BEGINS"]
    assert result.stdout.splitlines()[1].split() == [
        *(f"{delivery.partition.number}/0", "2023-11-14T22:13:21.000Z", "not_json", "web", "504"),
        ('{"a\\x1b' + "x" * 60)[:60],
    ]
    [found] = await listed(stream)
    assert found["begins"] == '{"a\x1b' + "x" * 196


async def test_the_list_is_narrowed_and_shows_the_newest(system, stream):
    await keep(system, ("not_json", b"a"), ("no_type", b"b"), ("not_json", b"c"))
    assert [one["begins"] for one in await listed(stream)] == ["a", "b", "c"]
    assert [one["begins"] for one in await listed(stream, "--reason", "not_json")] == ["a", "c"]
    assert [one["begins"] for one in await listed(stream, "--since", "2023-11-14T22:13:22Z")] == ["b", "c"]
    assert [one["begins"] for one in await listed(stream, "--limit", 1)] == ["c"]
    assert "2 older ones are not shown" in (await stream("invalid", "list", "--limit", 1)).stdout
    assert (
        await stream("invalid", "list", "--reason", "none")
    ).stdout == "there is nothing that could not be understood\n"


async def test_after_a_fix_it_is_routed_once_and_no_more(system, stream, carried_out):
    await keep(system, ("unknown_type", TRACK))
    [delivery] = await system.topic(topics.INVALID)
    place = f"{delivery.partition.number}/{delivery.offset}"
    result = await carried_out(stream("invalid", "retry", place))
    assert (result.exit_code, result.stdout) == (0, f"{place}: appended 1\n")
    assert [d.message.value for d in await system.topic("segment.track")] == [TRACK]
    assert await listed(stream) == []
    assert [one["retried"] for one in await listed(stream, "--all")] == [True]
    again = await stream("invalid", "retry", place)
    assert (again.exit_code, again.stderr) == (
        1,
        f"Error: {place} was routed again before: nothing was asked for\n",
    )
    assert (await stream("invalid", "retry", "--all")).exit_code == 1


async def test_what_is_still_invalid_stays_and_the_exit_code_says_so(system, stream, carried_out):
    await keep(system, ("unknown_type", TRACK), ("not_json", b"{"), ("unknown_type", TRACK + b" "))
    result = await carried_out(stream("invalid", "retry", "--all", "--json"))
    assert result.exit_code == 1
    answers = json.loads(result.stdout)
    assert [one["result"] for one in answers] == ["appended 1", "not done: still invalid: not_json", "appended 1"]
    assert [one["begins"] for one in await listed(stream)] == ["{"]


async def test_those_with_a_reason_or_since_a_time_are_routed(system, stream, carried_out):
    await keep(system, ("a", TRACK), ("b", TRACK + b" "), ("b", TRACK + b"  "))
    result = await carried_out(stream("invalid", "retry", "--reason", "b", "--since", "2023-11-14T22:13:23Z"))
    assert result.exit_code == 0, result.output
    assert [d.message.value for d in await system.topic("segment.track")] == [TRACK + b"  "]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "which ones?"),
        (["0/0", "--all"], 2, "which ones?"),
        (["zero"], 2, "'zero' is not of the form PARTITION/OFFSET"),
        (["3/77"], 1, "there is no 3/77: nothing was asked for"),
        (["--reason", "none"], 1, "there is nothing like that"),
    ],
)
async def test_what_is_not_there_is_named(system, stream, words, code, said):
    await keep(system, ("a", TRACK))
    result = await stream("invalid", "retry", *words)
    assert result.exit_code == code
    assert said in result.stderr
    assert await system.store.requests.open() == []
