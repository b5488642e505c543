"""stream positions"""

import json

import pytest

from stream.message import Partition
from tests.cli.conftest import NOW
from tests.embedded import message

pytestmark = pytest.mark.slow


async def shown(stream, *words):
    result = await stream("positions", "show", *words, "--json")
    assert result.exit_code == 0, result.output
    return {(one["processor"], one["partition"]): one for one in json.loads(result.stdout)}


@pytest.fixture
async def place(system):
    """Where three messages lie that profiles has read."""
    for number in range(3):
        system.around.clock.now = NOW + number
        await system.send(message("track", NOW, userId="ada", event="A", messageId=f"m{number}"))
    await system.read("profiles")
    [partition] = {d.partition for d in await system.topic("segment.track")}
    return f"{partition.topic}/{partition.number}"


async def test_it_shows_where_each_processor_is_and_what_the_log_holds(place, stream):
    found = await shown(stream)
    mine = found["profiles", place]
    assert (mine["position"], mine["begins"], mine["ends"], mine["problem"]) == (3, 0, 3, None)
    assert found["consent", place]["position"] == 0
    assert {name for name, _ in await shown(stream, "profiles")} == {"profiles"}
    assert "profiles" in (await stream("positions", "show", "profiles")).stdout


@pytest.mark.parametrize(
    ("words", "position"),
    [
        (["begin"], 0),
        (["end"], 3),
        (["2023-11-14T22:13:21Z"], 1),
        (["2", "--partition", "PLACE"], 2),
    ],
)
async def test_a_processor_is_put_there_and_stays_stopped(place, stream, system, words, position):
    words = [place if word == "PLACE" else word for word in words]
    result = await stream("positions", "set", "profiles", *words, "--yes")
    assert result.exit_code == 0, result.output
    assert "stream resume profiles" in result.stdout
    assert (await shown(stream))["profiles", place]["position"] == position
    assert "profiles" in await system.store.positions.stops()


async def test_only_lost_positions_are_set_where_that_is_asked_for(place, stream, system):
    name, _, number = place.rpartition("/")
    lost = Partition(name, int(number))
    await system.store.positions.stop("profiles", "the log was replaced", NOW)
    await system.store.positions.place("profiles", {lost: 9}, {name: "another log"})
    assert (await shown(stream))["profiles", place]["problem"].startswith("of another log")
    before = await shown(stream)
    result = await stream("positions", "set", "profiles", "begin", "--lost", "--yes", "--json")
    assert json.loads(result.stdout) == [{"partition": place, "position": 9, "to": 0}]
    after = await shown(stream)
    assert after["profiles", place]["problem"] is None
    assert {key: one for key, one in after.items() if key != ("profiles", place)} == {
        key: one for key, one in before.items() if key != ("profiles", place)
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nobody", "begin"], "there is no processor nobody"),
        (["profiles", "soon"], "none of begin, end, a time"),
        (["profiles", "2"], "an offset is of one partition"),
        (["profiles", "4", "--partition", "PLACE"], "holds 0 to 3"),
        (["profiles", "begin", "--partition", "segment.track/99"], "does not read segment.track/99"),
        (["profiles", "begin", "--lost"], "no such position"),
    ],
)
async def test_what_cannot_be_meant_changes_nothing(place, stream, system, words, told):
    before = await shown(stream)
    result = await stream("positions", "set", *[place if word == "PLACE" else word for word in words], "--yes")
    assert result.exit_code != 0 and told in result.output
    assert await shown(stream) == before
    assert await system.store.positions.stops() == {}


async def test_it_asks_first(place, stream, system):
    result = await stream("positions", "set", "profiles", "begin")
    assert result.exit_code != 0
    assert (await shown(stream))["profiles", place]["position"] == 3
