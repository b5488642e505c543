"""Consuming from Kafka beyond what every log promises: what brokers, other clients and operators may do to a member."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition
from structlog.testing import capture_logs

from stream.errors import LogRefused, PositionLost
from stream.log import Cursor
from stream.log.kafka_watchdog import Patience, patience
from stream.log.partitioner import partition_of
from stream.message import Partition
from tests.brokers.fixtures import OwnCluster
from tests.contracts.logs import (
    IDENTIFY,
    PARTITIONS,
    TRACK,
    OnKafka,
    Owner,
    everything,
    fetched,
    joined,
    message,
    until,
)

pytestmark = pytest.mark.slow

MINE = Partition(TRACK, partition_of(b"a", PARTITIONS))


@pytest.fixture
async def there(kafka: str) -> AsyncIterator[OnKafka]:
    kind = OnKafka(kafka)
    yield kind
    await kind.remove()


async def lost(cursor: Cursor) -> str:
    """How the position was lost, as fetch says sooner or later."""
    with pytest.raises(PositionLost) as raised:
        async with asyncio.timeout(20):
            while True:
                await cursor.fetch(100)
    return str(raised.value)


async def test_a_member_that_fetches_nothing_for_longer_than_its_session_stays_one(there: OnKafka) -> None:
    assigned = []

    class Counting(Owner):
        async def assign(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
            assigned.append(1)
            await asyncio.sleep(there.config.session_timeout_s + 1)  # a store that is slow is no reason either
            return await super().assign(partitions)

    owner = Counting()
    async with there.open() as log, joined(log, owner) as cursor:
        await log.append([message("a", b"%d" % n) for n in range(5)])
        await until(lambda: bool(owner.owned))
        await asyncio.sleep(there.config.session_timeout_s + 1)
        assert [d.message.value for d in await fetched(cursor, 5)] == [b"%d" % n for n in range(5)]
    assert assigned == [1]


async def test_positions_are_copied_for_the_usual_tools_when_a_member_leaves(there: OnKafka) -> None:
    async with there.open() as log, joined(log, Owner(), "readers") as cursor:
        await log.append([message("a") for _ in range(5)])
        await fetched(cursor, 5)
        await cursor.commit({MINE: 5, Partition(IDENTIFY, 0): 7})
    async with there.kafka.admin() as admin:
        found = await admin.list_consumer_group_offsets(there.config.group_prefix + "readers")
    assert {place: at.offset for place, at in found.items()} == {TopicPartition(there.kafka.called(TRACK), MINE[1]): 5}


async def test_a_position_before_the_beginning_is_lost_and_the_gap_is_named(there: OnKafka) -> None:
    async with there.open() as log:
        await log.append([message("a") for _ in range(10)])
        await cut(there, 7)
        assert (await log.bounds([TRACK]))[MINE] == (7, 10)
        async with joined(log, Owner({MINE: 3})) as cursor:
            assert await lost(cursor) == (
                f"{TRACK}/{MINE.number}: 3 is to be read next, but the log begins at 7: 4 messages are gone unread"
            )


async def test_what_retention_takes_from_a_slow_member_is_named(there: OnKafka) -> None:
    async with there.open() as log, joined(log, Owner()) as cursor:
        await log.append([message("a", os.urandom(1_000_000)) for _ in range(40)])
        assert await fetched(cursor, 1, limit=1)
        await cut(there, 39)
        assert "the log begins at 39" in await lost(cursor)


async def cut(there: OnKafka, before: int) -> None:
    """Deletes what lies before that offset."""
    place = TopicPartition(there.kafka.called(TRACK), MINE.number)

    async with there.kafka.admin() as admin:
        await admin.delete_records({place: RecordsToDelete(before)})


async def test_a_topic_that_is_made_again_while_it_is_read_is_noticed_though_it_holds_the_position(
    there: OnKafka,
) -> None:
    async with there.open() as log, joined(log, Owner()) as cursor:
        await log.append([message("a", b"old") for _ in range(5)])
        await fetched(cursor, 5)
        await there.replace()
        async with there.open() as another:
            await another.append([message("a", b"new") for _ in range(50)])
        await asyncio.sleep(1.1)  # it is looked at once a second
        with pytest.raises(PositionLost, match=f"{TRACK} was deleted and made again"):
            async with asyncio.timeout(20):
                while True:
                    assert await cursor.fetch(100) == []


async def test_the_end_is_reached_behind_what_a_transaction_leaves_in_the_log(there: OnKafka) -> None:
    async with there.open() as log:
        producer = AIOKafkaProducer(bootstrap_servers=there.kafka.brokers, transactional_id=there.config.group_prefix)
        async with producer:
            for value, kept in ((b"kept", True), (b"aborted", False)):
                await producer.begin_transaction()
                await producer.send_and_wait(there.kafka.called(TRACK), value, b"a", partition=MINE.number)
                await (producer.commit_transaction() if kept else producer.abort_transaction())
        ends = {partition: end for partition, (_, end) in (await log.bounds([TRACK])).items()}
        assert ends[MINE] == 4
        values = []
        async with joined(log, Owner(), until=ends) as cursor:
            with pytest.raises(StopAsyncIteration):
                async with asyncio.timeout(20):
                    while True:
                        values += [d.message.value for d in await cursor.fetch(10)]
        assert values == [d.message.value for d in await everything(log)] == [b"kept"]


async def test_a_consumer_that_has_gone_silent_is_replaced_and_that_is_said(there: OnKafka) -> None:
    owner = Owner()
    async with there.open(patience=Patience(silent=1.0, look=0.2)) as log, joined(log, owner) as cursor:
        await log.append([message("a", b"before")])
        owner.deal_with(await fetched(cursor, 1))
        silenced(cursor)
        with capture_logs() as said:
            await log.append([message("a", b"after")])
            found = await fetched(cursor, 1)
            owner.deal_with(found)
        assert [d.message.value for d in found] == [b"after"]
    [line] = [line for line in said if line["event"] == "consumer_rebuilt"]
    assert f"{TRACK}/{MINE.number} has messages for it" in line["reason"]


def silenced(cursor: Cursor) -> None:
    """Ends the task of Kafka's client that fetches, as its own bugs do."""
    cursor._member.owned.consumer._fetcher._fetch_task.cancel()  # type: ignore[attr-defined]


async def test_a_consumer_without_news_is_left_alone(there: OnKafka) -> None:
    owner = Owner()
    opened = there.open(patience=Patience(silent=0.2, unassigned=0.5, look=0.05))
    async with opened as log, joined(log, owner) as cursor, joined(log, Owner(), "another") as idle:
        await log.append([message("a")])
        owner.deal_with(await fetched(cursor, 1))
        with capture_logs() as said:
            for _ in range(20):
                assert await cursor.fetch(10) == []
        assert await fetched(idle, 1)  # what is not asked for is no silence
    assert said == []


async def test_a_member_joins_when_the_brokers_come_and_goes_on_when_they_come_back(own_cluster: OwnCluster) -> None:
    async with own_cluster(1) as (broker,):
        there, owner = OnKafka(broker.bootstrap), Owner()
        async with there.open() as log:
            await log.append([message("a")])
            await broker.stop()
            async with joined(log, owner) as cursor:
                assert await cursor.fetch(10) == []
                await broker.start()
                await read_one(cursor, owner)
                for end in (broker.kill, broker.stop):
                    await end()
                    assert await cursor.fetch(10) == []
                    await broker.start()
                    async with there.open() as writing:
                        await writing.append([message("a")])
                    await read_one(cursor, owner)
        assert owner.positions[MINE] == 3


async def read_one(cursor: Cursor, owner: Owner) -> None:
    async with asyncio.timeout(60):
        while not (found := await cursor.fetch(1)):
            pass
    owner.deal_with(found)


async def test_who_only_looks_reads_all_partitions_alone_and_kafka_hears_of_no_group(there: OnKafka) -> None:
    async with there.open() as log:
        await log.append([message(f"{n}") for n in range(50)])
    async with there.reading() as log, joined(log, Owner(), "g") as one, joined(log, Owner(), "g") as other:
        assert len(await fetched(one, 50)) == len(await fetched(other, 50)) == 50
        await one.commit({MINE: 1})
    async with there.kafka.admin() as admin:
        assert not [
            name for name, *_ in await admin.list_consumer_groups() if name.startswith(there.config.group_prefix)
        ]


async def test_a_frozen_broker_is_waited_for(own_cluster: OwnCluster) -> None:
    async with own_cluster(1) as (broker,):
        there, owner = OnKafka(broker.bootstrap), Owner()
        async with there.open() as log, joined(log, owner) as cursor:
            await log.append([message("a")])
            owner.deal_with(await fetched(cursor, 1))
            broker.freeze()
            async with asyncio.timeout(8):
                for _ in range(50):
                    assert await cursor.fetch(10) == []
            broker.thaw()
            await log.append([message("a")])
            owner.deal_with(await fetched(cursor, 1))
        assert owner.positions[MINE] == 2


async def test_reading_goes_on_at_the_beginning_if_retention_was_faster(there: OnKafka) -> None:
    async with there.open() as log:
        await log.append([message("a", os.urandom(1_000_000)) for _ in range(40)])
        reading = log.read(TRACK)
        assert (await anext(reading)).offset == 0
        await cut(there, 39)
        assert [d.offset async for d in reading][-1] == 39


def test_nobody_is_expelled_within_the_longest_grace() -> None:
    assert patience({"hook": {"url": "x"}}) == Patience()
    long = patience({"profiles": {}, "forward": {"grace_s": 20, "billing": {"grace_s": 100.0}}})
    assert long.rebalance > 100 and long.unassigned > long.rebalance


async def test_what_the_brokers_refuse_for_good_ends_the_member_with_a_word_on_it(kafka: str) -> None:
    there = OnKafka(kafka, session_timeout_s=0.1)
    async with there.open(patience=Patience(look=0.1)) as log:
        with pytest.raises(LogRefused, match=r"kafka\.session_timeout_s is not within"):
            async with asyncio.timeout(20), joined(log, Owner()) as cursor:
                while True:
                    await cursor.fetch(10)
    await there.remove()
