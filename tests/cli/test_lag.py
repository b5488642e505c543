"""stream lag"""

import json
import time

from stream.cli.text import when
from stream.message import Partition
from stream.store.lanes import Lane
from stream.store.statuses import Status
from tests.cli.conftest import CONFIG, NOW
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


FORWARD = '[processors.forward.copy]\nurl = "https://hooks.example.com/in"\n'


async def destination(stream):
    found, _ = await lag(stream)
    line = next(
        line for line in (await stream("lag")).stdout.splitlines() if line.startswith("forward.copy") and "-" in line
    )
    return found["forward.copy"]["acting"], line


async def test_of_a_reactor_it_says_what_the_running_process_says_and_what_the_store_holds(system, stream, folder):
    (folder / "stream.toml").write_text(CONFIG + FORWARD)
    acting, line = await destination(stream)
    assert (acting["breaker"], acting["said"], acting["held_lanes"]) == ("unknown", None, 0)
    assert "no process says" in line
    now = time.time()
    await system.store.statuses.keep({"forward.copy": Status()}, now)
    acting, line = await destination(stream)
    assert (acting["breaker"], acting["oldest_open_s"], acting["said"]) == ("closed", None, now)
    assert line.split() == ["forward.copy", "answers", "-", "0", "-"]
    await system.store.statuses.keep({"forward.copy": Status(broken=now - 60, probe=now + 5, oldest=now - 90)}, now)
    lane = Lane(name="ada", partition=Partition("segment.track", 0), due=NOW + 7, reason="http_500", since=NOW)
    await system.store.db.writing(lambda tx: system.store.lanes.put(tx, "forward.copy", lane))
    acting, line = await destination(stream)
    assert (acting["breaker"], acting["open_since"], acting["next_probe"]) == ("open", now - 60, now + 5)
    assert 90 <= acting["oldest_open_s"] < 150
    assert (acting["held_lanes"], acting["next_retry"]) == (1, NOW + 7)
    assert f"down since {when(now - 60)}, next probe {when(now + 5)}" in line and line.endswith(
        f"1           {when(NOW + 7)}"
    )
    found, _ = await lag(stream)
    assert found["profiles"]["acting"] is None


async def test_a_status_that_nobody_says_any_more_is_not_believed(system, stream, folder):
    (folder / "stream.toml").write_text(CONFIG + FORWARD)
    old = time.time() - 11
    await system.store.statuses.keep({"forward.copy": Status(broken=old, probe=old, oldest=old)}, old)
    acting, line = await destination(stream)
    assert (acting["breaker"], acting["open_since"], acting["oldest_open_s"]) == ("unknown", None, None)
    assert acting["said"] == old and f"no process has said since {when(old)}" in line


async def test_events_that_wait_in_a_spill_are_named(system, stream):
    assert "not in the log yet" not in (await stream("lag")).stdout
    await system.store.spilled.keep("one", NOW, NOW + 1)
    await system.store.spilled.keep("other", NOW - 5, NOW + 1)
    assert f"what receivers took since {when(NOW - 5)} (stream spill list)" in (await stream("lag")).stdout
    assert json.loads((await stream("lag", "--json")).stdout)["spilled"] == {"one": NOW, "other": NOW - 5}
