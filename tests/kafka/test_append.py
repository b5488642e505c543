"""What appends on Kafka promise beyond the contract of all logs, on a real broker that stays up."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaError
from confluent_kafka import Consumer

from stream.errors import ConfigError, LogUnavailable, TooLarge
from stream.log import kafka as setting
from stream.log.kafka_admin import set_up, settings
from stream.log.kafka_log import KafkaLog
from stream.log.partitioner import partition_of
from stream.message import Message, Partition
from tests.contracts.logs import IDENTIFY, PARTITIONS, TRACK, OnKafka, everything, message

pytestmark = pytest.mark.slow

RAW = b'{"type":"track", "event" : "Bought \xc3\xa9"}\n\x00'
HEADERS = (("source", b"web"), ("received", b"1.5"), ("source", b"\xff"))


@pytest.fixture
async def kind(kafka: str) -> AsyncIterator[OnKafka]:
    kind = OnKafka(kafka)
    yield kind
    await kind.remove()


async def test_a_message_that_is_too_large_is_refused_by_itself_and_named(kind: OnKafka) -> None:
    large = message("a", b"x" * 4_500_001)
    async with kind.open() as log:
        with pytest.raises(TooLarge) as refused:
            await log.append([message("a", b"1"), large, message("a", b"2"), message("b", b"3")])
        assert refused.value.messages == [large]
        assert {d.message.value for d in await everything(log)} == {b"1", b"2", b"3"}
        with pytest.raises(TooLarge):
            await log.append([large])


async def test_what_only_the_topic_takes_for_too_large_is_refused_by_itself_too(kind: OnKafka) -> None:
    await kind.make()
    await _set(kind, "max.message.bytes", "50000")
    large = message("same", b"L" * 60_000)
    before, after = ([message("same", b"%d" % n + b"x" * 1000) for n in range(m, m + 200)] for m in (0, 200))
    async with kind.open() as log:
        with pytest.raises(TooLarge) as refused:
            await log.append([*before, large, *after])
        assert refused.value.messages == [large]
        await log.append([message("same", b"y" * 1000) for _ in range(500)])
        kept = [d.message for d in await everything(log)]
    assert kept[:400] == [*before, *after]  # halving a batch keeps its order
    assert len(kept) == 900


async def test_a_producer_beyond_repair_is_replaced_while_the_others_go_on(kind: OnKafka) -> None:
    async with kind.open() as log:
        channels = log._appends._channels
        broken = await channels[0].producer()
        outcomes: dict[int, list[bool]] = {number: [] for number in range(PARTITIONS)}
        done = asyncio.Event()
        load = [asyncio.create_task(_append(log, number, outcomes[number], done)) for number in outcomes]
        await _until(lambda: all(len(some) > 20 for some in outcomes.values()))
        broken._message_accumulator.fail_all(KafkaError("fatal"))  # as where its own task has ended
        counts = {number: len(some) for number, some in outcomes.items()}
        await _until(lambda: all(len(outcomes[n]) > counts[n] + 50 for n in outcomes))
        done.set()
        await asyncio.gather(*load)
        assert await channels[0].producer() is not broken
    mine = {number for number in outcomes if number % len(channels) == 0}
    assert any(not all(outcomes[number]) for number in mine)
    assert all(outcomes[number][-1] for number in mine)
    assert all(all(outcomes[number]) for number in outcomes.keys() - mine)


async def test_added_partitions_are_used_as_javas_clients_would(kind: OnKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting, "_METADATA_S", 0.2)
    async with kind.open() as log:
        await log.append([message("before")])
        async with kind.kafka.admin() as admin:
            await admin.create_partitions({kind.kafka.called(TRACK): NewPartitions(PARTITIONS + 5)})
        await _until(lambda: len(log._appends._pumps[TRACK]) == PARTITIONS + 5)
        await log.append([message(f"{n}") for n in range(100)])
        found = [d for d in await everything(log) if d.message.key != b"before"]
    assert {d.partition.number for d in found} == set(range(PARTITIONS + 5))
    assert all(d.partition == Partition(TRACK, partition_of(d.message.key, PARTITIONS + 5)) for d in found)


async def test_a_topic_that_is_deleted_is_named_and_used_again_once_it_is_back(
    kind: OnKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting, "_METADATA_S", 0.2)
    async with kind.open() as log:
        await log.append([message("a")])
        assert await log.trouble() is None
        await kind.remove()
        await _until(lambda: not log._appends._pumps[TRACK])
        with pytest.raises(LogUnavailable, match=kind.kafka.called(TRACK)):
            await log.append([message("a")])
        assert kind.kafka.called(TRACK) in (await log.trouble() or "")
        await kind.make()
        await _until(lambda: len(log._appends._pumps[TRACK]) == PARTITIONS)
        await log.append([message("a")])
        assert await log.trouble() is None


async def test_a_missing_topic_is_an_error_at_once_and_is_not_made(kind: OnKafka) -> None:
    with pytest.raises(ConfigError, match=kind.kafka.called(TRACK)):
        async with KafkaLog.open(kind.kafka, [TRACK], kind.clock):
            pass
    with pytest.raises(ConfigError, match=kind.kafka.called(TRACK)):
        async with KafkaLog.open(kind.kafka, [TRACK], kind.clock):
            pass
    await kind.make()


async def test_any_client_reads_the_bytes_as_they_came_in_the_topic_that_the_company_names(kind: OnKafka) -> None:
    called = kind.kafka.called(TRACK)
    assert called != TRACK
    async with kind.open() as log:
        await log.append([Message(TRACK, b"user-1", RAW, HEADERS), Message(IDENTIFY, b"user-1", b"other")])
    (broker,) = kind.kafka.brokers
    expected = (called, partition_of(b"user-1", PARTITIONS), 0, b"user-1", RAW, HEADERS, 1_000_000)
    assert await _by_aiokafka(broker, called) == [expected]
    assert await asyncio.to_thread(_by_librdkafka, broker, called) == [expected]


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd", "snappy"])
async def test_compressed_messages_are_read_as_they_were(kafka: str, codec: str) -> None:
    kind = OnKafka(kafka, compression=codec)
    sent = [Message(TRACK, b"same", RAW * 100, HEADERS) for _ in range(50)]
    async with kind.open() as log:
        await log.append(sent)
        assert [d.message for d in await everything(log)] == sent
    (broker,) = kind.kafka.brokers
    assert len(await asyncio.to_thread(_by_librdkafka, broker, kind.kafka.called(TRACK), 50)) == 50
    await kind.remove()


async def _append(log: KafkaLog, number: int, outcomes: list[bool], done: asyncio.Event) -> None:
    key = next(f"{n}" for n in range(100) if partition_of(b"%d" % n, PARTITIONS) == number)
    while not done.is_set():
        try:
            await log.append([message(key)])
        except LogUnavailable:
            outcomes.append(False)
        else:
            outcomes.append(True)


async def _set(kind: OnKafka, name: str, value: str) -> None:
    called = kind.kafka.called(TRACK)
    async with kind.kafka.admin() as admin:
        await set_up(admin, called, {name: value})
        async with asyncio.timeout(20):
            while (await settings(admin, [called]))[called][name] != value:
                await asyncio.sleep(0.02)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.02)


Seen = tuple[str, int, int, bytes, bytes, tuple[tuple[str, bytes], ...], int]


async def _by_aiokafka(broker: str, topic: str) -> list[Seen]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(20):
        one = await consumer.getone()
    return [(one.topic, one.partition, one.offset, one.key, one.value, tuple(one.headers), one.timestamp)]


def _by_librdkafka(broker: str, topic: str, number: int = 1) -> list[Seen]:
    consumer = Consumer({"bootstrap.servers": broker, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        found = consumer.consume(number, timeout=20)
    finally:
        consumer.close()
    return [
        (m.topic(), m.partition(), m.offset(), m.key(), m.value(), tuple(m.headers()), m.timestamp()[1]) for m in found
    ]
