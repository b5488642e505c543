"""A real Kafka and a real PostgreSQL for benchmarks, on the last core; what is measured may have the other ones."""

import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg

from benchmarks import traffic
from stream import topics
from stream.log import Log
from stream.log.kafka import Kafka
from stream.log.kafka_admin import Topic, create
from stream.log.kafka_log import KafkaLog
from stream.places import KafkaConfig, StoreConfig
from tests.brokers.kafka import alone
from tests.brokers.postgres import server
from tests.brokers.run import Run

PARTITIONS = 6
_SERVER = {"fsync": "on", "shared_buffers": "128MB"}


@contextlib.asynccontextmanager
async def broker(partitions: int = PARTITIONS) -> AsyncIterator[str]:
    """HOST:PORT of a Kafka with all topics."""
    with Run.begun() as run:
        with _on(_cores()[1]):
            started = await alone(run, run.new_folder("kafka"))
        kafka = Kafka([started.bootstrap], KafkaConfig(), {}, time.time)
        async with kafka.admin() as admin:
            await create(admin, [Topic(name, partitions, 1, {"min.insync.replicas": "1"}) for name in topics.ALL])
        try:
            yield started.bootstrap
        finally:
            await started.kill()


@contextlib.asynccontextmanager
async def broker_apart(partitions: int = PARTITIONS) -> AsyncIterator[str]:
    """The same, with this process, and what it starts, on the other cores."""
    async with broker(partitions) as there:
        with apart():
            yield there


@contextlib.asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """The URL of a PostgreSQL that flushes what it commits."""
    with Run.begun() as run, contextlib.ExitStack() as starting:
        starting.enter_context(_on(_cores()[1]))
        async with server(run, run.new_folder("postgres"), _SERVER) as own:
            starting.close()
            yield own.url


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Meanwhile this process, and what it starts, is on the other cores."""
    with _on(_cores()[0]):
        yield


async def emptied(url: str) -> StoreConfig:
    """A schema there that has nothing in it."""
    connection = await asyncpg.connect(url)
    await connection.execute("DROP SCHEMA IF EXISTS ours CASCADE; CREATE SCHEMA ours")
    await connection.close()
    return StoreConfig(url=f"{url}?search_path=ours")


@contextlib.asynccontextmanager
async def log_on(broker: str, prefix: str = "") -> AsyncIterator[KafkaLog]:
    """The log there; with a prefix, for groups that nobody else is in."""
    prefix = prefix and f"{prefix}{uuid.uuid4().hex}-"
    kafka = Kafka([broker], KafkaConfig(group_prefix=prefix, append_timeout_s=60.0), {}, time.time)
    async with KafkaLog.open(kafka, topics.ALL, time.time, queue_bytes=64 * 1024 * 1024) as log:
        yield log


async def fill(log: Log, count: int) -> None:
    """Appends so many events."""
    for first in range(0, count, 1_000):
        await log.append(list(traffic.messages(traffic.Mix(first), 1_000)))


def _cores() -> tuple[set[int], set[int]]:
    """All but the last, and the last; of one core, twice that one."""
    every = os.sched_getaffinity(0)
    return (every - {max(every)}) or every, {max(every)}


@contextlib.contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
