"""Appends while the broker is killed, stopped, frozen: nothing acknowledged is lost, and each key keeps its order."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import pytest_asyncio

from stream.errors import LogFull, LogUnavailable
from stream.log.kafka_log import KafkaLog
from tests.brokers.kafka import Broker, cluster
from tests.brokers.run import Run
from tests.contracts.logs import TRACK, OnKafka, everything, message

pytestmark = pytest.mark.slow

KEYS = 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(kafka_on_java: None, test_run: Run) -> AsyncIterator[Broker]:
    async with cluster(test_run, test_run.new_folder("kafka"), 1) as (broker,):
        yield broker


@pytest.fixture
def broker(started: Broker) -> Iterator[Broker]:
    """Runs again afterwards, if the test has not stopped it."""
    yield started
    started.thaw()


async def test_a_broker_that_is_killed_under_load_costs_nothing_and_no_order(broker: Broker) -> None:
    await _disturbed(broker, broker.kill)


async def test_a_broker_that_is_stopped_under_load_costs_nothing_and_no_order(broker: Broker) -> None:
    await _disturbed(broker, broker.stop)


async def test_after_the_deadline_everything_that_waits_fails_in_its_order_and_what_is_late_comes_twice(
    broker: Broker,
) -> None:
    kind = OnKafka(broker.bootstrap, append_timeout_s=1.0)
    async with kind.open() as log:
        await log.append([message("same", b"before")])
        broker.freeze()
        failed: list[int] = []
        tasks = []
        for number in range(20):
            tasks.append(asyncio.create_task(_failing(log, number, failed)))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)
        assert failed == list(range(20))
        assert await log.trouble() is not None
        broker.thaw()
        for number in range(20):  # as a spill that is drained
            await _until_taken(log, number)
        assert await log.trouble() is None
        kept = [int(d.message.value or b"") for d in await everything(log) if d.message.value != b"before"]
    assert [number for number in dict.fromkeys(kept)] == list(range(20))  # late copies are repeats, and no gap
    assert log.queued_bytes == 0


async def test_what_waits_for_a_broker_is_bounded(broker: Broker) -> None:
    kind = OnKafka(broker.bootstrap, append_timeout_s=5.0)
    async with kind.open(queue_bytes=10_000) as log:
        broker.freeze()
        waiting = [asyncio.create_task(log.append([message("a", b"x" * 900)])) for _ in range(30)]
        await asyncio.sleep(0)
        with pytest.raises(LogFull):
            await log.append([message("a", b"x" * 900)])
        assert log.queued_bytes <= 10_000
        broker.thaw()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        taken = outcomes.count(None)
        assert taken and all(isinstance(outcome, LogFull) for outcome in outcomes if outcome is not None)
        assert len(await everything(log)) == taken


async def test_a_log_opens_while_the_broker_is_away_and_takes_appends_once_it_is_back(broker: Broker) -> None:
    kind = OnKafka(broker.bootstrap, append_timeout_s=1.0)
    await kind.make()
    await broker.stop()
    async with KafkaLog.open(kind.kafka, [TRACK], kind.clock) as log:
        with pytest.raises(LogUnavailable):
            await log.append([message("a", b"0")])
        assert await log.trouble() is not None
        await broker.start()
        await _until_taken(log, 1)
        assert [d.message.value for d in await everything(log)] == [b"1"]


async def test_a_log_is_closed_soon_while_the_broker_is_frozen(broker: Broker) -> None:
    kind = OnKafka(broker.bootstrap, append_timeout_s=1.0)
    async with asyncio.timeout(30):
        async with kind.open() as log:
            await log.append([message("a")])
            broker.freeze()
            appending = asyncio.create_task(log.append([message("a")]))
            await asyncio.sleep(0)
        with pytest.raises(LogUnavailable):
            await appending
    broker.thaw()


async def _disturbed(broker: Broker, disturb: Callable[[], Awaitable[None]]) -> None:
    kind = OnKafka(broker.bootstrap, append_timeout_s=1.0)
    acknowledged = [0] * KEYS
    done = asyncio.Event()
    async with kind.open() as log:
        load = [asyncio.create_task(_load(log, key, acknowledged, done)) for key in range(KEYS)]
        await _more(acknowledged)
        for _ in range(2):
            await disturb()
            await asyncio.sleep(1.5)  # past a deadline
            await broker.start()
            await _more(acknowledged)
        done.set()
        await asyncio.gather(*load)
        kept: dict[bytes, list[int]] = {b"%d" % key: [] for key in range(KEYS)}
        for delivery in await everything(log):
            kept[delivery.message.key].append(int(delivery.message.value or b""))
    for key, last in enumerate(acknowledged):
        assert list(dict.fromkeys(kept[b"%d" % key])) == list(range(last))


async def _load(log: KafkaLog, key: int, acknowledged: list[int], done: asyncio.Event) -> None:
    """Appends 0, 1, 2 … of a key, the same again until it is acknowledged."""
    for number in itertools.count():
        if done.is_set():
            return
        await _until_taken(log, number, f"{key}")
        acknowledged[key] = number + 1


async def _more(acknowledged: list[int]) -> None:
    """Returns when every key has ten more."""
    before = list(acknowledged)
    async with asyncio.timeout(60):
        while not all(now >= then + 10 for now, then in zip(acknowledged, before, strict=True)):
            await asyncio.sleep(0.02)


async def _until_taken(log: KafkaLog, number: int, key: str = "same") -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await log.append([message(key, b"%d" % number)])
            except LogUnavailable:
                await asyncio.sleep(0.05)


async def _failing(log: KafkaLog, number: int, failed: list[int]) -> None:
    with pytest.raises(LogUnavailable):
        await log.append([message("same", b"%d" % number)])
    failed.append(number)
