"""What one test has of a shared Kafka and PostgreSQL: topics and a database that nobody else uses."""

import asyncio
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream import topics
from stream.places import KafkaConfig, LogConfig

PARTITIONS = 4


def log_at(kafka: str, partitions: int = PARTITIONS) -> LogConfig:
    return LogConfig(url=f"kafka://{kafka}", partitions=partitions)


@contextmanager
def topics_at(kafka: str, partitions: int = PARTITIONS) -> Iterator[tuple[KafkaConfig, dict[str, str]]]:
    """All our topics while the block lasts, by names of their own, and the prefix for the names of groups."""
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    names = {name: prefix + name for name in topics.ALL}
    _done(_make(kafka, list(names.values()), partitions))
    yield KafkaConfig(group_prefix=prefix, replication_factor=1, min_insync_replicas=1), names
    _done(_delete(kafka, list(names.values())))


@contextmanager
def database_at(server: str) -> Iterator[str]:
    """An empty database while the block lasts: its url."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _done(_execute(server, f"CREATE DATABASE {name}"))
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    _done(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


def _done(work: Coroutine[Any, Any, None]) -> None:
    """On a loop of its own: a test and its fixtures may have one, or none, or another one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def _make(kafka: str, names: list[str], partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        made = await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
        assert not any(code for _, code, *_ in made.topic_errors), made
        # The broker hears of them a little after the controller has made them.
        while not all(one["partitions"] for one in await admin.describe_topics(names)):
            await asyncio.sleep(0.02)
    finally:
        await admin.close()


async def _delete(kafka: str, names: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics(names)
    finally:
        await admin.close()


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
