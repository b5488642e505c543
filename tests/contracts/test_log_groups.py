"""What consume and Cursor promise, on every implementation."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path

import pytest

from stream.errors import PositionLost
from stream.message import Message, Partition
from tests.contracts.logs import (
    IDENTIFY,
    KINDS,
    PARTITIONS,
    TRACK,
    Kind,
    Owner,
    fetched,
    joined,
    log_of,
    message,
    until,
)


@pytest.fixture(params=KINDS)
def chosen(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    return log_of(request, tmp_path)


@pytest.fixture
async def kind(chosen: Kind) -> AsyncIterator[Kind]:
    yield chosen
    await chosen.remove()


def many(number: int, keys: int = 50) -> list[Message]:
    return [message(f"user-{n % keys}", b"%d" % n) for n in range(number)]


@pytest.mark.parametrize("limit", [1, 7, 300, 5000])
async def test_every_message_is_fetched_once_in_order_whatever_the_limit(kind: Kind, limit: int) -> None:
    owner = Owner()
    async with kind.open() as log, joined(log, owner) as cursor:
        for start in range(0, 600, 200):
            await log.append(many(600)[start : start + 200])
        values: list[bytes | None] = []
        while len(values) < 600:
            some = await cursor.fetch(limit)
            assert len(some) <= limit
            owner.deal_with(some)
            values += [d.message.value for d in some]
    assert Counter(values) == Counter(m.value for m in many(600))


async def test_one_fetch_takes_about_8_mib(kind: Kind) -> None:
    async with kind.open() as log, joined(log, Owner()) as cursor:
        await log.append([Message(TRACK, b"%d" % n, bytes(1_000_000)) for n in range(30)])
        sizes = []
        while sum(sizes) < 30:
            sizes.append(len(await cursor.fetch(1000)))
    assert max(sizes) <= 9


async def test_a_partition_with_much_to_read_does_not_hold_up_the_others(kind: Kind) -> None:
    async with kind.open() as log, joined(log, Owner()) as cursor:
        await log.append([message("busy") for _ in range(5000)])
        fetches = len(await fetched(cursor, 1, limit=1))
        await log.append(many(200))
        seen: set[Partition] = set()
        while len(seen) < PARTITIONS:  # a log may still be on its way to fetch from the others
            seen = {d.partition for d in await cursor.fetch(4)}
            fetches += 1
            await asyncio.sleep(0.001)
        assert fetches < 1000  # most of the busy one is still to be read
        assert len({d.partition for _ in range(PARTITIONS) for d in await cursor.fetch(1)}) == PARTITIONS


async def test_a_fetch_of_nothing_answers_after_a_short_wait(kind: Kind) -> None:
    async with kind.open() as log, joined(log, Owner()) as cursor:
        async with asyncio.timeout(20):
            assert await cursor.fetch(10) == []


async def test_a_waiting_fetch_is_woken_by_an_append(kind: Kind) -> None:
    async with kind.open(wait=60) as log, joined(log, Owner()) as cursor, asyncio.timeout(20):
        waiting = asyncio.create_task(cursor.fetch(10))
        await log.append([message("a", topic=IDENTIFY)])  # not for this one
        assert not waiting.done()
        await log.append([message("a", b"woken")])
        assert [d.message.value for d in await waiting] == [b"woken"]


async def test_each_group_gets_everything(kind: Kind) -> None:
    async with kind.open() as log, joined(log, Owner(), "one") as one, joined(log, Owner(), "two") as two:
        await log.append(many(100))
        assert len(await fetched(one, 100)) == len(await fetched(two, 100)) == 100


async def test_a_member_starts_where_on_assign_says_and_not_where_something_was_committed(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append([message("a", b"%d" % n) for n in range(10)])
        partition = next(p for p, (_, end) in (await log.bounds([TRACK])).items() if end)
        for start in (4, 2):
            async with joined(log, Owner({partition: start})) as cursor:
                assert [d.offset for d in await fetched(cursor, 10 - start)] == list(range(start, 10))
                await cursor.commit({partition: 10})


@pytest.mark.parametrize("position", [11, 10**9])
async def test_a_position_beyond_the_end_is_lost_and_said_so(kind: Kind, position: int) -> None:
    async with kind.open() as log:
        await log.append([message("a") for _ in range(10)])
        partition = next(p for p, (_, end) in (await log.bounds([TRACK])).items() if end)
        async with joined(log, Owner({partition: position})) as cursor:
            with pytest.raises(PositionLost, match=rf"{TRACK}/{partition.number}: {position} .* 10"):
                await fetched(cursor, 1)


async def test_partitions_are_shared_by_range_and_topics_alike(kind: Kind) -> None:
    owners = [Owner() for _ in range(3)]
    topics = (TRACK, IDENTIFY)
    async with kind.open() as log, joined(log, owners[0], topics=topics):
        await until(lambda: bool(owners[0].owned))
        assert owners[0].owned == {Partition(topic, n) for topic in topics for n in range(PARTITIONS)}
        async with joined(log, owners[1], topics=topics), joined(log, owners[2], topics=topics):
            await until(lambda: all(owner.owned for owner in owners))
            shares = sorted(sorted(owner.owned) for owner in owners)
            assert shares == [
                sorted(Partition(topic, n) for topic in topics for n in numbers) for numbers in ((0, 1), (2,), (3,))
            ]
        assert not owners[1].owned and not owners[2].owned
    assert not owners[0].owned


async def test_members_beyond_the_partitions_wait_for_their_turn(kind: Kind) -> None:
    owners = [Owner() for _ in range(PARTITIONS + 1)]
    done = asyncio.Event()

    async def member(owner: Owner) -> None:
        async with joined(log, owner) as cursor:
            while not done.is_set():
                await cursor.fetch(10)

    async with kind.open() as log, asyncio.TaskGroup() as group:
        tasks = {owner: group.create_task(member(owner)) for owner in owners}
        await until(lambda: sorted(len(owner.owned) for owner in owners) == [0] + [1] * PARTITIONS)
        gone = next(owner for owner in owners if owner.owned)
        tasks[gone].cancel()
        await until(lambda: not gone.owned and all(len(owner.owned) == 1 for owner in owners if owner is not gone))
        done.set()


@pytest.mark.slow
async def test_members_that_come_and_go_under_load_deal_with_every_message_once(kind: Kind) -> None:
    chance = random.Random(3)
    positions: dict[Partition, int] = {}
    owners: dict[Partition, Owner] = {}
    values: list[bytes | None] = []
    total = 20_000

    async def member(stay: int) -> None:
        owner = Owner(positions, owners)
        async with joined(log, owner) as cursor:
            while stay > 0 and len(values) < total:
                some = await cursor.fetch(chance.choice((1, 50, 1000)))
                owner.deal_with(some)  # asserts that nobody else has the partition, and that offsets are in order
                values.extend(d.message.value for d in some)
                stay -= 1

    async def coming_and_going() -> None:
        while len(values) < total:
            await asyncio.gather(*(member(chance.randrange(1, 12)) for _ in range(chance.randrange(1, 6))))

    async def appending() -> None:
        for start in range(0, total, 100):
            await log.append([message(f"user-{n % 97}", b"%d" % n) for n in range(start, start + 100)])

    async with kind.open() as log, asyncio.timeout(60):
        await asyncio.gather(appending(), *(coming_and_going() for _ in range(3)))
    assert Counter(values) == Counter(b"%d" % n for n in range(total))
    assert not owners


async def test_on_revoke_may_wait_for_a_batch_while_its_member_fetches(kind: Kind) -> None:
    finished = asyncio.Event()
    revoking = asyncio.Event()

    class Waiting(Owner):
        async def revoke(self, partitions: Collection[Partition]) -> None:
            revoking.set()
            await finished.wait()
            await super().revoke(partitions)

    first, second = Waiting(), Owner()
    async with kind.open(wait=0.01) as log, asyncio.timeout(20):
        await log.append(many(200))
        async with joined(log, first) as cursor:
            assert await fetched(cursor, 10, limit=10)
            async with joined(log, second) as other:
                await revoking.wait()
                assert await cursor.fetch(10) == []  # what was read ahead is not handed out any more
                assert await other.fetch(10) == []  # and the other one waits until it was let go
                assert not second.owned
                finished.set()
                assert await fetched(other, 1)


@pytest.mark.parametrize("steps", range(8))
async def test_a_page_that_arrives_when_its_partition_was_revoked_is_dropped(kind: Kind, steps: int) -> None:
    revoked, release = asyncio.Event(), asyncio.Event()

    class Noting(Owner):
        async def revoke(self, partitions: Collection[Partition]) -> None:
            await super().revoke(partitions)
            self.came_in_time = fetching.done()
            revoked.set()
            await release.wait()

    owner = Noting()
    async with kind.open() as log, asyncio.timeout(20), joined(log, owner) as cursor:
        await log.append(many(200))
        await until(lambda: bool(owner.owned))
        fetching = asyncio.create_task(cursor.fetch(10))
        for _ in range(steps):  # the join falls between other steps of the fetch each time
            await asyncio.sleep(0)
        async with joined(log, Owner()):
            await revoked.wait()
            found = await fetching
            release.set()
        assert owner.came_in_time or not found


async def test_what_on_assign_raises_reaches_the_fetch_of_that_member_alone(kind: Kind) -> None:
    class Failing(Owner):
        async def assign(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
            raise ZeroDivisionError

    async with kind.open() as log, joined(log, Owner()) as sound:
        await log.append(many(100))
        with pytest.raises(ZeroDivisionError):
            async with joined(log, Failing()) as failing:
                await fetched(failing, 1)
        numbers: set[int] = set()
        async with asyncio.timeout(20):
            while numbers != set(range(PARTITIONS)):
                numbers |= {d.partition.number for d in await sound.fetch(10)}


class Clinging(Owner):
    async def revoke(self, partitions: Collection[Partition]) -> None:
        raise ZeroDivisionError


async def test_what_on_revoke_raises_reaches_the_fetch_of_that_member(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append(many(10))
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(20), joined(log, Clinging()) as failing:
                assert await fetched(failing, 10)
                async with joined(log, Owner()):
                    while True:
                        await failing.fetch(10)


async def test_what_on_revoke_raises_while_leaving_is_raised_by_leaving(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append(many(10))
        with pytest.raises(ZeroDivisionError):
            async with joined(log, Clinging()) as failing:
                assert await fetched(failing, 10)


async def test_a_member_whose_task_is_cancelled_in_fetch_lets_go(kind: Kind) -> None:
    owner = Owner()
    async with kind.open(wait=60) as log, asyncio.timeout(20):

        async def member() -> None:
            async with joined(log, owner) as cursor:
                while True:
                    await cursor.fetch(10)

        task = asyncio.create_task(member())
        await until(lambda: bool(owner.owned))
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not owner.owned


async def test_a_fetch_with_until_reads_to_there_and_then_ends(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append(many(100))
        ends = {partition: end for partition, (_, end) in (await log.bounds([TRACK])).items()}
        async with joined(log, Owner(), until=ends) as cursor:
            await log.append(many(100))  # after the end
            values = []
            with pytest.raises(StopAsyncIteration):
                while True:
                    values += [d.message.value for d in await cursor.fetch(30)]
            with pytest.raises(StopAsyncIteration):
                await cursor.fetch(30)
    assert Counter(values) == Counter(m.value for m in many(100))


async def test_the_end_passes_through_the_block_of_a_consumer(kind: Kind) -> None:
    async with kind.open() as log:
        with pytest.raises(StopAsyncIteration):
            async with joined(log, Owner(), until={Partition(TRACK, n): 0 for n in range(PARTITIONS)}) as cursor:
                while True:
                    assert await cursor.fetch(10) == []


async def test_an_end_that_the_log_has_not_reached_is_waited_for(kind: Kind) -> None:
    async with kind.open() as log:
        await log.append([message("a")])
        (partition,) = [p for p, (_, end) in (await log.bounds([TRACK])).items() if end]
        ends = {Partition(TRACK, n): 0 for n in range(PARTITIONS)} | {partition: 2}
        async with joined(log, Owner(), until=ends) as cursor:
            assert len(await fetched(cursor, 1)) == 1
            assert await cursor.fetch(10) == []
            await log.append([message("a")])
            assert len(await fetched(cursor, 1)) == 1
            with pytest.raises(StopAsyncIteration):
                await cursor.fetch(10)
