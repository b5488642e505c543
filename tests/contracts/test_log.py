"""What Log promises, on every implementation: appending, reading, bounds. Groups are in test_log_groups.py."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream.errors import LogError, LogFull, LogUnavailable
from stream.log.partitioner import partition_of
from stream.message import Message, Partition
from tests.contracts.logs import (
    IDENTIFY,
    KINDS,
    PARTITIONS,
    TRACK,
    Kind,
    Owner,
    everything,
    fetched,
    joined,
    log_of,
    message,
)


@pytest.fixture(params=KINDS)
def chosen(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    return log_of(request, tmp_path)


@pytest.fixture
async def kind(chosen: Kind) -> AsyncIterator[Kind]:
    yield chosen
    await chosen.remove()


EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize(
    "original",
    [
        Message(TRACK, b"user", b'{"a":1}'),
        Message(TRACK, EVERY_BYTE, EVERY_BYTE, (("source", EVERY_BYTE), ("näme", b""))),
        Message(TRACK, b"", b""),
        Message(TRACK, b"gone", None),
        Message(TRACK, b"twice", b"x", (("same", b"1"), ("same", b"2"))),
        Message(TRACK, b"x", b"x", (("received", b"1.000000"),)),
    ],
)
async def test_a_message_comes_back_as_it_was_appended(kind: Kind, original: Message) -> None:
    async with kind.open() as log, joined(log, Owner()) as cursor:
        await log.append([original])
        (delivery,) = await fetched(cursor, 1)
    assert delivery.message == original
    assert delivery.partition == Partition(TRACK, partition_of(original.key, PARTITIONS))
    assert delivery.offset == 0
    assert delivery.time == kind.clock.now  # when the log took it, whatever its headers say


async def test_what_was_appended_is_there_after_opening_anew(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append([message("a", b"1"), message("b", b"2"), message("a", b"3", IDENTIFY)])
    async with kind.open() as log:
        assert {d.message.value for d in await everything(log, TRACK, IDENTIFY)} == {b"1", b"2", b"3"}


async def test_an_append_of_nothing_keeps_nothing(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append([])
        assert set((await log.bounds([TRACK])).values()) == {(0, 0)}


async def test_a_topic_that_the_log_does_not_have_is_refused_with_all_of_its_append(kind: Kind) -> None:
    async with kind.open() as log:
        with pytest.raises(LogError, match=r"no\.such"):
            await log.append([message("a"), message("a", topic="no.such")])
        with pytest.raises(LogError, match=r"no\.such"):
            await log.bounds(["no.such"])
        assert await everything(log) == []


async def test_messages_of_one_key_keep_the_order_of_their_appends(kind: Kind) -> None:
    async with kind.open() as log:
        await asyncio.gather(
            *(log.append([message(f"user-{key}", b"%d" % turn) for key in range(5)]) for turn in range(200))
        )
        found = await everything(log)
    for key in range(5):
        mine = [int(d.message.value or b"") for d in found if d.message.key == b"user-%d" % key]
        assert mine == list(range(200))


async def test_messages_of_one_append_keep_their_order_across_rows(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append([message("same", b"%d" % turn) for turn in range(10_000)])
        assert [int(d.message.value or b"") for d in await everything(log)] == list(range(10_000))


async def test_large_messages_are_kept_whole(kind: Kind) -> None:
    large = [Message(TRACK, b"same", bytes([number]) * 4_000_000) for number in range(4)]
    async with kind.open() as log, joined(log, Owner()) as cursor:
        await log.append([large[0], message("same"), *large[1:]])
        found = await fetched(cursor, 5)
    assert [d.message for d in found] == [large[0], message("same"), *large[1:]]


async def test_a_cancelled_append_harms_nobody_else(kind: Kind) -> None:
    async with kind.open() as log:
        one, other = (asyncio.create_task(log.append([message(key)])) for key in ("one", "other"))
        await asyncio.sleep(0)
        one.cancel()
        await other
        assert one.cancelled() or one.done()
        assert b"other" in {d.message.key for d in await everything(log)}


async def test_an_append_beyond_the_bound_is_refused_at_once_and_keeps_nothing(kind: Kind) -> None:
    async with kind.open(queue_bytes=1000) as log:
        first, second = await asyncio.gather(
            log.append([message("first", b"x" * 800)]),
            log.append([message("second", b"x" * 800), message("second")]),
            return_exceptions=True,
        )
        assert first is None
        assert isinstance(second, LogFull)
        await log.append([message("third", b"x" * 800)])
        assert [d.message.key for d in sorted(await everything(log), key=lambda d: d.message.key)] == [
            b"first",
            b"third",
        ]


async def test_an_append_that_is_larger_than_the_bound_gets_through_alone(kind: Kind) -> None:
    async with kind.open(queue_bytes=1000) as log:
        await log.append([message("large", b"x" * 5000)])
        assert len(await everything(log)) == 1


async def test_in_an_outage_nothing_is_acknowledged_and_afterwards_all_is_well(kind: Kind) -> None:
    async with kind.open() as log, joined(log, Owner()) as cursor:
        await log.append([message("before")])
        async with kind.outage():
            for _ in range(3):
                outcomes = await asyncio.gather(
                    *(log.append([message(f"{n}", b"lost")]) for n in range(5)), return_exceptions=True
                )
                assert all(isinstance(outcome, LogUnavailable) for outcome in outcomes), outcomes
            assert [d.message.key for d in await everything(log)] == [b"before"]  # reading goes on
        await log.append([message("after")])
        assert {d.message.key for d in await fetched(cursor, 2)} == {b"before", b"after"}
    async with kind.open() as log:
        assert {d.message.key for d in await everything(log)} == {b"before", b"after"}


async def test_leaving_the_block_writes_what_is_queued(kind: Kind) -> None:
    async with kind.open() as log:
        appends = [asyncio.create_task(log.append([message(f"{n}")])) for n in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*appends)
    async with kind.open() as log:
        assert len(await everything(log)) == 50


async def test_a_block_that_raised_is_left_cleanly(kind: Kind) -> None:
    with pytest.raises(ZeroDivisionError):
        async with kind.open() as log, joined(log, Owner()):
            await log.append([message("a")])
            raise ZeroDivisionError
    async with kind.open() as log:
        assert len(await everything(log)) == 1


async def test_a_closed_log_says_so(kind: Kind) -> None:
    async with kind.open() as log:
        pass
    with pytest.raises(LogError, match="closed"):
        await log.append([message("a")])
    with pytest.raises(LogError, match="closed"):
        await log.bounds([TRACK])


async def test_the_identity_stays_with_the_log_and_goes_with_it(kind: Kind) -> None:
    async with kind.open() as log:
        first = await log.identities([TRACK, IDENTIFY])
    async with kind.open() as log:
        assert await log.identities([TRACK, IDENTIFY]) == first
    await kind.replace()
    async with kind.open() as log:
        now = await log.identities([TRACK, IDENTIFY])
    assert now.keys() == first.keys() and not set(now.values()) & set(first.values())


async def test_bounds_are_the_first_offset_and_the_next_one(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append([message("a"), message("a"), message("a", topic=IDENTIFY)])
        mine = partition_of(b"a", PARTITIONS)
        bounds = await log.bounds([TRACK, IDENTIFY])
    expected = {Partition(topic, n): (0, 0) for topic in (TRACK, IDENTIFY) for n in range(PARTITIONS)}
    assert bounds == expected | {Partition(TRACK, mine): (0, 2), Partition(IDENTIFY, mine): (0, 1)}


@pytest.mark.parametrize(
    ("at", "offset"), [(0.0, 0), (1000.0, 0), (1000.5, 2), (1001.0, 2), (1007.0, 14), (1019.5, 40), (9e9, 40)]
)
async def test_bounds_at_a_time_name_the_first_message_taken_then_or_later(kind: Kind, at: float, offset: int) -> None:
    async with kind.open() as log:
        for _ in range(20):
            await log.append([message("a"), message("a")])
            kind.clock.now += 1
        bounds = await log.bounds([TRACK], at)
    assert bounds[Partition(TRACK, partition_of(b"a", PARTITIONS))] == (0, offset)


async def test_reading_covers_the_times_from_since_on_and_before_until(kind: Kind) -> None:
    async with kind.open() as log:
        for number in range(10):
            await log.append([message(f"{number}-{n}", b"%d" % number) for n in range(8)])
            kind.clock.now += 1
        found = [d.message.value async for d in log.read(TRACK, since=1003.0, until=1006.0)]
    assert Counter(found) == {b"3": 8, b"4": 8, b"5": 8}


async def test_reading_ends_where_the_log_ended_when_it_began(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append([message("a", b"before")])
        reading = log.read(TRACK)
        assert (await anext(reading)).message.value == b"before"
        await log.append([message("a", b"after"), message("b", b"after")])
        assert [d async for d in reading] == []


async def test_reading_belongs_to_no_processor_and_may_be_left_half_way(kind: Kind) -> None:
    async with kind.open() as log, joined(log, Owner()) as cursor:
        await log.append([message(f"{n}") for n in range(100)])
        async for _ in log.read(TRACK):
            break
        assert len(await everything(log)) == 100
        assert len(await fetched(cursor, 100)) == 100
