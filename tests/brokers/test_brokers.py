"""What fault tests rely on: servers that keep their data and their port whatever is done to them."""

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.config import Config
from stream.places import brokers
from tests.brokers.fixtures import OwnCluster, OwnServer


async def test_each_test_has_topics_of_its_own(kafka_config: Config) -> None:
    async with AIOKafkaConsumer(bootstrap_servers=brokers(kafka_config.log.url)) as consumer:
        there = await consumer.topics()
    assert set(kafka_config.topics.values()) <= there


async def test_each_test_has_an_empty_database_of_its_own(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetch("SELECT * FROM pg_tables WHERE schemaname = 'public'") == []
    await connection.execute("CREATE TABLE mine (x int)")
    await connection.close()


async def test_a_killed_broker_comes_back_with_what_it_acknowledged(own_cluster: OwnCluster) -> None:
    async with own_cluster(1) as (broker,):
        await _topic(broker.bootstrap, 1)
        await _send(broker.bootstrap, b"before")
        await broker.kill()
        await broker.start()
        assert await _first(broker.bootstrap) == b"before"


async def test_two_brokers_of_three_go_on(own_cluster: OwnCluster) -> None:
    async with own_cluster(3) as (first, second, third):
        bootstrap = ",".join(broker.bootstrap for broker in (first, second, third))
        await _topic(bootstrap, 3)
        await first.kill()
        await _send(bootstrap, b"while one is away")
        assert await _first(bootstrap) == b"while one is away"


async def test_a_killed_server_comes_back_with_what_it_committed(own_server: OwnServer) -> None:
    async with own_server() as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
        await server.kill()
        await server.start()
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT x FROM kept") == 1
        await connection.close()


async def _topic(bootstrap: str, copies: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, copies)])
    await admin.close()


async def _send(bootstrap: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait("kept", value)


async def _first(bootstrap: str) -> bytes:
    async with AIOKafkaConsumer("kept", bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()
    assert record.value is not None
    return bytes(record.value)
