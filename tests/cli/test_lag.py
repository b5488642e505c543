"""stream lag"""

import json

from tests.cli.conftest import NOW
from tests.embedded import message


async def lag(stream):
    result = await stream("lag", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    return {one["processor"]: one for one in found["processors"]}, found["deletions_open"]


async def test_it_counts_what_each_processor_has_yet_to_read_by_partition(system, stream):
    await system.send(*(message("track", NOW, userId="ada", event="A", messageId=f"m{n}") for n in range(3)))
    [partition] = {d.partition for d in await system.topic("segment.track")}
    await system.read("profiles")
    found, _ = await lag(stream)
    assert found["profiles"]["behind"] == 0
    assert found["consent"]["behind"] == 3
    assert found["deletion"]["partitions"] == {f"segment.delete/{n}": 0 for n in range(4)}
    place = f"segment.track/{partition.number}"
    assert {p: n for p, n in found["consent"]["partitions"].items() if n} == {place: 3}
    lines = [line.split() for line in (await stream("lag")).stdout.splitlines()]
    assert ["consent", "3", "0"] in lines and ["consent", place, "3"] in lines
    assert ["profiles", place, "3"] not in lines


async def test_fates_add_up_to_what_was_read_and_held_is_told_by_reason(system, stream):
    await system.send(
        message("track", NOW, userId="ada", event="A", properties={"dead": "odd"}),
        message("track", NOW, userId="bob", event="A", properties={"amount": 1}),
    )
    await system.read()
    found, _ = await lag(stream)
    assert found["fragile"]["fates"] == {"applied": 1, "held": 1}
    assert found["fragile"]["held"] == {"odd": 1}
    text = (await stream("lag", "--fates")).stdout
    assert ["fragile", "applied", "1"] in [line.split() for line in text.splitlines()]
    assert ["fragile", "odd", "1"] in [line.split() for line in text.splitlines()]
    assert "applied" not in (await stream("lag")).stdout


async def test_open_deletions_are_counted(system, stream):
    await system.send(message("delete", NOW, userId="ada"))
    await system.read()
    assert (await lag(stream))[1] == 1
    assert "deletions open: 1 (stream deletions)" in (await stream("lag")).stdout


async def test_before_the_first_run_it_says_which_file_it_looked_for(stream, folder):
    result = await stream("lag")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: there is no log at {folder}/log.db; `stream run` makes one\n",
    )
