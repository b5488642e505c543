"""The spill around a log that is away at times: nothing lost, nothing out of order, and back to the direct way."""

import asyncio
from pathlib import Path

import pytest

from stream.errors import LogFull, LogInUse, LogUnavailable
from stream.log.refused_file import RefusedFile
from stream.log.sqlite import SqliteHistory
from tests.disk import full_disk
from tests.spill.away import IDENTIFY, TRACK, Place, copies, direct, message, numbers, outcome


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_what_is_appended_while_the_log_is_there_goes_to_it_alone(place: Place) -> None:
    async with place.both() as (log, spill):
        await spill.append([message("a", 1), message("b", 2)])
        await spill.append([])
        assert await copies(spill) == {1: 1, 2: 1}
        assert await spill.identities([TRACK]) == await log.identities([TRACK])
        assert await spill.bounds([TRACK]) == await log.bounds([TRACK])
        assert list(spill.standing.values()) == [None]
        assert place.metric("stream_spilled_events_total") == 0.0


@pytest.mark.parametrize("mode", ["before", "after", "full"])
async def test_while_the_log_is_away_everything_waits_and_then_follows_in_order(place: Place, mode: str) -> None:
    async with place.both() as (log, spill):
        await spill.append([message("a", 1)])
        log.mode = mode
        for number in range(2, 50):
            await spill.append([message("a", number), message("b", number, IDENTIFY)])
        assert await spill.trouble() is None
        place.now += 60.0
        assert list(spill.standing.values()) == [1_000_000.0]
        assert place.metric("stream_spill_messages") == 96.0
        assert place.metric("stream_spill_oldest_seconds") == 60.0
        log.mode = ""
        await direct(spill)
        await spill.append([message("a", 50)])
        assert await numbers(spill) == {(TRACK, "a"): [*range(1, 51)], (IDENTIFY, "b"): [*range(2, 50)]}
        assert place.metric("stream_spilled_events_total") == 96.0
        assert place.metric("stream_spill_oldest_seconds") == place.metric("stream_spill_messages") == 0.0


async def test_what_comes_while_the_file_is_moved_comes_after_it(place: Place) -> None:
    async with place.both("before") as (log, spill):
        for number in range(20_000):
            await spill.append([message(f"{number % 7}", n) for n in range(number * 10, number * 10 + 10)])
            if number == 300:
                log.mode = ""
            if number > 300 and spill._detour.since is None:
                break
        assert spill._detour.since is None, "it came in faster than it went out"
        found = await numbers(spill, [TRACK])
    assert sorted(n for one in found.values() for n in one) == list(range(number * 10 + 10))
    assert all(one == sorted(one) for one in found.values())


async def test_who_comes_while_the_last_of_it_is_moved_waits_for_that_and_follows(place: Place) -> None:
    async with place.both("before") as (log, spill):
        await spill.append([message("a", 1)])
        log.gate.clear()
        log.mode = ""
        while not log.asked > 1:
            await asyncio.sleep(0)
        log.gate.set()
        waiting = []
        for number in range(2, 40):
            waiting.append(asyncio.create_task(outcome(spill.append([message("a", number)]))))
            await asyncio.sleep(0)
        assert set(await asyncio.gather(*waiting)) == {None}
        await direct(spill)
        assert (await numbers(spill))[TRACK, "a"] == list(range(1, 40))


async def test_who_waited_goes_to_the_file_if_the_log_goes_away_once_more(place: Place) -> None:
    async with place.both("before") as (log, spill):
        await spill.append([message("a", 1)])
        drain = spill._drain
        drain.well = True  # as after an append that succeeded
        log.gate.clear()
        log.mode = ""
        async with asyncio.timeout(5):
            while not spill._detour.closed:
                await asyncio.sleep(0)
        waiting = asyncio.create_task(outcome(spill.append([message("a", 2)])))
        await asyncio.sleep(0)
        log.mode = "before"
        log.gate.set()
        assert await waiting is None
        assert spill._detour.since is not None
        log.mode = ""
        await direct(spill)
        assert (await numbers(spill))[TRACK, "a"] == [1, 2]


async def test_a_new_process_moves_first_what_the_last_one_left(place: Place) -> None:
    async with place.both("before") as (log, spill):
        await spill.append([message("a", number) for number in range(3)])
        [name] = spill.standing
    async with place.both("before") as (log, spill):
        assert spill.standing == {name: place.now}
        log.mode = ""
        await spill.append([message("a", 3)])
        await direct(spill)
        assert (await numbers(spill))[TRACK, "a"] == [0, 1, 2, 3]
        assert spill.standing == {name: None}


async def test_each_process_has_its_own_file(place: Place) -> None:
    async with place.log() as log, place.spill(log) as one, place.spill(log) as other:
        log.mode = "before"
        await one.append([message("a", 1)])
        await other.append([message("a", 2)])
        assert one.standing.keys().isdisjoint(other.standing)
        assert [since is not None for since in [*one.standing.values(), *other.standing.values()]] == [True, True]
        log.mode = ""
        await direct(one)
        await direct(other)
        assert set((await numbers(log))[TRACK, "a"]) == {1, 2}


async def test_a_running_receiver_moves_what_a_dead_one_left(place: Place) -> None:
    async with place.log() as log, place.spill(log) as one:
        async with place.spill(log) as other:
            log.mode = "before"
            await other.append([message("a", number) for number in range(5)])
            [name] = other.standing
        log.mode = ""
        async with asyncio.timeout(5):
            while one.standing.get(name, 0.0) is not None:
                await asyncio.sleep(0.001)
        assert (await numbers(log))[TRACK, "a"] == list(range(5))


async def test_a_file_that_is_broken_is_left_alone(place: Place) -> None:
    broken = place.folder / "spill" / "receiver-0.db"
    broken.parent.mkdir()
    broken.write_bytes(b"no database" * 1000)
    async with place.both("before") as (log, spill):
        await spill.append([message("a", 1)])
        log.mode = ""
        await direct(spill)
        assert await copies(log) == {1: 1}
    assert broken.read_bytes() == b"no database" * 1000


async def test_a_full_file_refuses_and_takes_again_once_there_is_room(place: Place) -> None:
    async with place.both("before", max_bytes=300_000) as (log, spill):
        sent = 0
        while await outcome(spill.append([message("a", number) for number in range(sent, sent + 100)])) is None:
            sent += 100
            assert sent < 100_000
        assert "full" in (await spill.trouble() or "")
        with pytest.raises(LogFull):
            await spill.append([message("a", -1)])
        log.mode = ""
        await direct(spill)
        assert await spill.trouble() is None
        await spill.append([message("a", sent)])
        assert (await numbers(log))[TRACK, "a"] == list(range(sent + 1))


async def test_a_full_disk_refuses_what_comes_and_takes_it_again_later(place: Place) -> None:
    async with place.both("before") as (log, spill):
        await spill.append([message("a", 1)])
        with full_disk():
            with pytest.raises(LogUnavailable):
                await spill.append([message("a", 2)])
            assert await spill.trouble() is not None
        assert await spill.trouble() is None
        await spill.append([message("a", 3)])
        log.mode = ""
        await direct(spill)
        assert (await numbers(log))[TRACK, "a"][:1] == [1]
        assert (await numbers(log))[TRACK, "a"][-1] == 3


async def test_the_file_of_a_spill_that_is_over_is_small_and_names_nobody(place: Place) -> None:
    async with place.both("before") as (log, spill):
        for number in range(200):
            await spill.append([message(f"somebody-{number}", n) for n in range(100)])
        file = next((place.folder / "spill").glob("receiver-*.db"))
        log.mode = ""
        await direct(spill)
        async with asyncio.timeout(5):
            while file.stat().st_size > 200_000 or file.with_name(file.name + "-wal").stat().st_size:
                await asyncio.sleep(0.001)
    assert not any(b"somebody" in one.read_bytes() for one in file.parent.iterdir())


async def test_what_the_log_takes_by_no_means_is_kept_in_refused_and_blocks_nothing(place: Place) -> None:
    async with place.both() as (log, spill):
        log.larger = 3
        await spill.append([message("a", 1), message("a", 11111), message("a", 2)])
        log.mode = "before"
        await spill.append([message("b", 3), message("b", 22222), message("b", 4)])
        log.mode = ""
        await direct(spill)
        assert await numbers(log) == {(TRACK, "a"): [1, 2], (TRACK, "b"): [3, 4]}
        async with asyncio.timeout(5):
            while place.metric("stream_refused_kept") != 2.0:
                await asyncio.sleep(0.001)
        refused = RefusedFile(place.folder / "spill")
        assert [kept.message for kept in refused.all()] == [message("a", 11111), message("b", 22222)]
        place.now += 15 * 86_400.0
        async with asyncio.timeout(5):
            while place.metric("stream_refused_kept"):
                await asyncio.sleep(0.001)
    assert place.metric("stream_refused_events_total", topic=TRACK) == 2.0


async def test_refused_is_bounded_but_what_waits_in_the_file_is_never_held_up_by_that(place: Place) -> None:
    async with place.both(max_bytes=100) as (log, spill):
        log.larger = 3
        await spill.append([message("a", 10**200)])
        with pytest.raises(LogFull):
            await spill.append([message("a", 10**200)])
        assert spill._detour.since is None, "the log is well"
        log.mode = "before"
        await spill.append([message("a", 10**100)])
        log.mode = ""
        await direct(spill)
        await spill.append([message("a", 5)])
        assert (await numbers(log)) == {(TRACK, "a"): [5]}
    assert [len(kept.message.value or b"") for kept in RefusedFile(place.folder / "spill").all()] == [201, 101]


async def test_a_file_that_waits_can_be_read_beside_its_receiver_and_has_one_owner(place: Place) -> None:
    async with place.both("before") as (_, spill):
        await spill.append([message("a", 1)])
        path = place.folder / "spill" / "receiver-0.db"
        async with SqliteHistory.open_readonly(path) as history:
            assert await copies(history) == {1: 1}
        with pytest.raises(LogInUse):
            async with Place(place.folder).log():
                pass
