"""The spill in front of a real Kafka that is killed, stopped, and back: nothing lost, nothing out of order per key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from stream.log.kafka_log import KafkaLog
from stream.log.spill import Spill, Terms
from stream.telemetry import Metrics
from tests.brokers.kafka import Broker, cluster
from tests.brokers.run import Run
from tests.contracts.logs import TRACK, OnKafka
from tests.spill.away import message, numbers
from tests.spill.receivers import Receiver, Site

pytestmark = pytest.mark.slow

KEYS = 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(kafka_on_java: None, test_run: Run) -> AsyncIterator[Broker]:
    """Each test leaves it running."""
    async with cluster(test_run, test_run.new_folder("kafka"), 1) as (broker,):
        yield broker


class Load:
    """Some who send one number after the other, each with a key of its own, and wait for every answer."""

    def __init__(self, spill: Spill) -> None:
        self.sent = dict.fromkeys((f"k{key}" for key in range(KEYS)), 0)
        self.slowest = 0.0
        self._spill = spill

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for key in self.sent:
                group.create_task(self._send(key, ending))
            yield
            ending.set()

    async def until(self, more: int) -> None:
        """Returns once so many more were answered."""
        wanted = sum(self.sent.values()) + more
        async with asyncio.timeout(60):
            while sum(self.sent.values()) < wanted:
                await asyncio.sleep(0.01)

    async def _send(self, key: str, ending: asyncio.Event) -> None:
        now = asyncio.get_running_loop().time
        while not ending.is_set():
            began = now()
            await self._spill.append([message(key, self.sent[key])])
            self.sent[key] += 1
            self.slowest = max(self.slowest, now() - began)
            await asyncio.sleep(0.002)


@asynccontextmanager
async def spilling(broker: Broker, folder: Path, metrics: Metrics) -> AsyncIterator[tuple[OnKafka, KafkaLog, Spill]]:
    kind = OnKafka(broker.bootstrap, append_timeout_s=1.0)
    terms = Terms(str(folder / "spill"), 1 << 30, keep_days=14.0)
    async with kind.open() as log, Spill.open(log, terms, kind.clock, metrics) as spill:
        yield kind, log, spill


async def until_direct(spill: Spill) -> None:
    async with asyncio.timeout(60):
        while spill._detour.since is not None:
            await asyncio.sleep(0.01)


async def test_a_broker_that_is_killed_under_load_costs_nothing_and_no_order(broker: Broker, tmp_path: Path) -> None:
    metrics = Metrics(CollectorRegistry())
    async with spilling(broker, tmp_path, metrics) as (_, log, spill):
        load = Load(spill)
        async with load.running():
            for _ in range(2):
                await load.until(2_000)
                await broker.kill()
                await load.until(5_000)
                assert await spill.trouble() is None
                await broker.start()
                await until_direct(spill)
            await load.until(2_000)
        found = await numbers(log, [TRACK])
    assert {key: found[TRACK, key] for key in load.sent} == {key: list(range(n)) for key, n in load.sent.items()}
    assert metrics.registry.get_sample_value("stream_spilled_events_total") > 5_000
    assert load.slowest < 4.0, "Segment gives up after 5 s"


async def test_after_an_hour_without_a_broker_all_of_it_follows_in_order(broker: Broker, tmp_path: Path) -> None:
    metrics = Metrics(CollectorRegistry())
    async with spilling(broker, tmp_path, metrics) as (kind, log, spill):
        await spill.append([message("a", 0)])
        await broker.stop()
        count = 1
        for _ in range(60):  # minutes
            kind.clock.now += 60.0
            for _ in range(20):
                await spill.append([message("a", count + n) for n in range(20)])
                count += 20
        assert await spill.trouble() is None
        oldest = metrics.registry.get_sample_value("stream_spill_oldest_seconds")
        assert oldest == 59 * 60.0
        assert metrics.registry.get_sample_value("stream_spill_messages") == 24_000.0
        await broker.start()
        await until_direct(spill)
        await spill.append([message("a", count)])
        assert (await numbers(log, [TRACK]))[TRACK, "a"] == list(range(count + 1))


async def test_a_receiver_that_is_killed_while_events_wait_loses_none(broker: Broker, tmp_path: Path) -> None:
    site = Site(tmp_path, broker)
    await site.make_topics()
    async with site.receiver() as receiver:
        assert await posted(receiver, 0, 5) == {200}
        await broker.kill()
        assert await posted(receiver, 5, 40) == {200}
        assert await receiver.ready() == 200
        [since] = await site.told()
        receiver.kill()
    async with site.receiver() as receiver:  # Kafka is still away
        assert await receiver.metric("stream_spill_messages") == 35 * 5
        assert min(await site.told()) == since
        assert await posted(receiver, 40, 50) == {200}
        with receiver.full_disk():
            assert await posted(receiver, -1, 0) == {503}
            assert await receiver.ready() == 503
        assert await posted(receiver, 50, 60) == {200}
        assert await receiver.ready() == 200
        await broker.start()
        await receiver.until("stream_spill_messages", 0.0)
        assert await posted(receiver, 60, 70) == {200}
        assert await site.told(0) == []
        assert receiver.stop() == 0
    found = await site.numbers()
    assert {user: [n for n in one if n >= 0] for user, one in found.items()} == {
        f"u{user}": list(range(70)) for user in range(5)
    }


async def test_a_disk_that_is_full_keeps_nobody_from_being_moved_once_kafka_is_back(
    broker: Broker, tmp_path: Path
) -> None:
    site = Site(tmp_path, broker)
    await site.make_topics()
    async with site.receiver() as receiver:
        await broker.kill()
        assert await posted(receiver, 0, 20) == {200}
        with receiver.full_disk():
            assert await posted(receiver, -1, 0) == {503}
            await broker.start()
            await receiver.until("stream_spill_messages", 0.0)
            async with asyncio.timeout(30):
                while await posted(receiver, 20, 21) != {200}:
                    await asyncio.sleep(0.1)
        assert await posted(receiver, 21, 30) == {200}
    found = await site.numbers()
    assert {user: [n for n in one if n >= 0] for user, one in found.items()} == {
        f"u{user}": list(range(30)) for user in range(5)
    }


async def test_another_receiver_on_the_host_moves_what_a_killed_one_left(broker: Broker, tmp_path: Path) -> None:
    site = Site(tmp_path, broker)
    await site.make_topics()
    async with site.receiver() as one:
        await broker.kill()
        async with site.receiver() as other:
            assert await posted(one, 0, 10) == await posted(other, 10, 20) == {200}
            assert await one.metric("stream_spill_messages") == await other.metric("stream_spill_messages") == 50.0
            other.kill()
        await broker.start()
        async with asyncio.timeout(60):
            while sum(map(len, (await site.numbers()).values())) < 100:
                await asyncio.sleep(0.2)
        assert (await site.numbers()).keys() == {f"u{user}" for user in range(5)}
        async with site.receiver() as third:
            await third.until("stream_spill_messages", 0.0)
    found = await site.numbers()
    assert all([n for n in one if n < 10] == list(range(10)) for one in found.values())
    assert all([n for n in one if n >= 10] == list(range(10, 20)) for one in found.values())


async def test_a_message_that_kafka_takes_by_no_means_is_answered_200_and_kept(broker: Broker, tmp_path: Path) -> None:
    site = Site(tmp_path, broker)
    await site.make_topics()
    async with site.receiver() as receiver:
        assert await receiver.post("u0", 0) == 200
        assert await receiver.post("u0", 1, size=200_000) == 200
        assert await receiver.post("u0", 2) == 200
        assert await site.numbers() == {"u0": [0, 2]}
    assert '"event": "message_refused"' in site.said()


async def posted(receiver: Receiver, first: int, end: int) -> set[int]:
    """Posts these numbers, each user's one after the other (-1 to 0: one that may be refused); the statuses."""

    async def post(user: str) -> set[int]:
        return {await receiver.post(user, number) for number in range(first, end)}

    return set().union(*await asyncio.gather(*(post(f"u{user}") for user in range(5))))
