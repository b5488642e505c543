"""Opening: the log that the configuration names, for a process that runs on it and for a command that looks."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from stream import topics
from stream.config import Config
from stream.errors import ConfigError
from stream.log import Log, Running
from stream.log.spill import Spill, Terms
from stream.log.sqlite import SqliteHistory, SqliteLog
from stream.places import brokers, file_of, is_kafka
from stream.telemetry import Metrics

if TYPE_CHECKING:  # it is imported where it is needed: commands on the embedded log do without
    from stream.log.kafka import Kafka


@asynccontextmanager
async def opened(
    config: Config, clock: Callable[[], float], metrics: Metrics, receives: bool = True
) -> AsyncIterator[Running]:
    """The log, for a process that appends and consumes; with the spill that is configured, where it receives. Raises
    LogInUse, LogRefused and ConfigError."""
    if not is_kafka(config.log.url):
        file, given = file_of(config.log.url), config.log
        async with SqliteLog.open(
            file, partitions=given.partitions, clock=clock, queue_bytes=given.queue_bytes
        ) as embedded:
            yield embedded
        return
    from stream.log.kafka_log import KafkaLog
    from stream.log.kafka_watchdog import patience

    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(kafka(config, clock))
        wanted = topics.wanted(config.publish.profile)
        waits = patience(config.processors)
        brokers_log = KafkaLog.open(there, wanted, clock, queue_bytes=config.log.queue_bytes, patience=waits)
        log: Running = await stack.enter_async_context(brokers_log)
        if receives and config.spill.folder:
            terms = Terms(config.spill.folder, config.spill.max_bytes, config.log.retention_days)
            log = await stack.enter_async_context(Spill.open(log, terms, clock, metrics))
        yield log


@asynccontextmanager
async def looked_at(config: Config) -> AsyncIterator[Log]:
    """The log, to read beside the processes that run on it. Raises LogError where there is none."""
    if not is_kafka(config.log.url):
        async with SqliteHistory.open_readonly(file_of(config.log.url)) as history:
            yield history
        return
    from stream.log.kafka_history import KafkaHistory

    async with kafka(config) as there, KafkaHistory.open_readonly(there) as kept:
        yield kept


@asynccontextmanager
async def kafka(config: Config, clock: Callable[[], float] = time.time) -> "AsyncIterator[Kafka]":
    """The brokers that the configuration names. Raises ConfigError where it names none, or a certificate cannot be
    read."""
    if not is_kafka(config.log.url):
        raise ConfigError("log.url names no Kafka: kafka://HOST:PORT")
    from stream.log.kafka import Kafka

    yield Kafka(brokers(config.log.url), config.kafka, config.topics, clock)


def spilled(log: Log) -> Mapping[str, float | None]:
    """Since when events wait in the spill of this process (None: nothing waits), by file."""
    return log.standing if isinstance(log, Spill) else {}
