"""What the log may lose, and how far everybody is."""

import pytest

from processors.audiences import Audiences
from stream.lag import Reader, measure, read_up_to, readers
from stream.message import Partition
from stream.places import LogConfig
from stream.retention import Retention
from tests.embedded import Clock, Embedded, config, message
from tests.engine.outcome import lags, ready

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")

DAY = 86_400.0


def retention(system):
    projections = [projector.projection for projector in system.projectors.values()]
    return Retention(system.log, system.store, projections, LogConfig(retention_days=1.0))


async def left(system, topic="segment.track"):
    return [delivery.message.key for delivery in await system.topic(topic)]


def tracks(*users):
    return [message("track", 1, userId=user, event="A") for user in users]


async def test_what_a_configured_processor_has_not_read_is_never_deleted_however_old(tmp_path):
    clock = Clock()
    async with Embedded.open(tmp_path, clock=clock) as system:
        await ready(system)
        await system.send(*tracks("a", "b", "c"))
        await system.read("profiles", "audiences")
        assert await retention(system).step(clock.now + 9 * DAY) == 0
        await system.read("consent")
        assert await retention(system).step(clock.now) == 0  # read by all, and young
        assert await retention(system).step(clock.now + 9 * DAY) == 3
        assert await left(system) == []
        await system.send(*tracks("d"))
        await system.read()
        assert (await system.person("user:d")).events == {"A": 1}


async def test_a_processor_that_never_ran_keeps_all_of_what_it_reads(tmp_path):
    clock = Clock()
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles", "deletion"]), clock=clock) as system:
        await ready(system)
        await system.send(*tracks("a"), message("delete", 2, userId="z"))
        await system.read()
    async with Embedded.open(tmp_path, config(tmp_path, []), clock=clock) as system:
        await system.send(*tracks("b"))
        missing = retention(system)
        missing._readers = readers([Audiences()])
        await missing.step(clock.now + 9 * DAY)
        assert await left(system, "segment.delete") == []  # audiences do not read it
        assert sorted(await left(system)) == [b"a", b"b"]


async def test_positions_in_a_log_that_was_replaced_let_nothing_of_the_new_one_go(tmp_path):
    clock = Clock()
    only = config(tmp_path, [])
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles"]), clock=clock) as system:
        await ready(system)
        await system.send(*tracks(*"abcdefgh"))
        await system.read()
        projection = system.projectors["profiles"].projection
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    async with Embedded.open(tmp_path, only, clock=clock) as system:
        await system.send(*tracks(*"abc"))
        await Retention(system.log, system.store, [projection], LogConfig(retention_days=1.0)).step(clock.now + 9 * DAY)
        assert sorted(await left(system)) == [b"a", b"b", b"c"]


async def test_lag_is_what_each_processor_has_yet_to_read_of_its_own_topics(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(*tracks("a", "b"), message("delete", 1, userId="a"))
        await system.read("profiles")
        assert {one.processor: one.behind for one in await lags(system)} == {
            "profiles": 0,
            "audiences": 2,
            "consent": 2,
            "deletion": 1,
        }
        tracks_only, from_end = Reader("new", ("segment.track",)), Reader("newer", ("segment.track",), from_end=True)
        never = await measure(system.log, {}, [tracks_only, from_end])
        assert [one.behind for one in never] == [2, 0]


def test_a_log_may_lose_what_the_slowest_reader_of_each_partition_has_passed():
    track, page, invalid = (Partition(f"segment.{topic}", 0) for topic in ("track", "page", "invalid"))
    positions = {"p": {track: 7, page: 9}, "q": {track: 5}}
    readers = [Reader("p", ("segment.track", "segment.page")), Reader("q", ("segment.track",))]
    assert read_up_to(positions, readers, [track, page, invalid]) == {track: 5, page: 9}
    assert read_up_to(positions, [*readers, Reader("new", ("segment.page",))], [track, page]) == {track: 5, page: 0}
    from_end = [Reader("new", ("segment.page",), from_end=True), Reader("p", ("segment.page",), from_end=True)]
    assert read_up_to(positions, from_end, [track, page]) == {page: 9}  # one that never ran will not read these
