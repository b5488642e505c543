"""Topics on Kafka as the configuration wants them, and as they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import structs

from stream import topics
from stream.config import Config
from stream.errors import LogError, LogRefused
from stream.log.kafka_admin import Topic, create, delete, set_up, settings
from stream.log.kafka_topics import There, carry_out, costs, differences, plan, there, wanted
from stream.log.kafka_wire import Look
from stream.log.opening import kafka
from stream.places import KafkaConfig, LogConfig
from tests.contracts.logs import OnKafka

WANTED = Config(log=LogConfig(url="kafka://broker:9092", partitions=4))


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("kafka"))


@pytest.fixture
async def config(address: str) -> AsyncIterator[Config]:
    """Wants topics that nobody has made."""
    prefix = OnKafka(address).config.group_prefix
    config = Config(
        log=LogConfig(url=f"kafka://{address}", partitions=2, retention_days=3),
        kafka=KafkaConfig(replication_factor=1, min_insync_replicas=1),
        topics={name: prefix + name for name in topics.ALL},
    )
    yield config
    async with opened(config) as admin:
        await delete(admin, list(config.topics.values()))


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Any]:
    """Kafka's admin client, of the configuration's brokers."""
    async with kafka(config) as brokers, brokers.admin() as admin:
        yield admin


@pytest.mark.slow
async def test_what_is_missing_is_made_as_it_is_wanted_and_then_nothing_is_left_to_do(config: Config) -> None:
    [missing] = await differences(config)
    assert missing.count("segment.") == 8 and "stream topics create" in missing
    await carry_out(config, plan(config, await there(config)))
    found = (await there(config)).topics
    for name, topic in wanted(config).items():
        assert (found[name].partitions, found[name].copies) == (2, 1)
        assert topic.settings.items() <= found[name].settings.items()
    assert plan(config, await there(config)) == await differences(config) == []


@pytest.mark.slow
async def test_topics_that_are_there_are_set_up_without_losing_anything(config: Config) -> None:
    track, page = config.topics["segment.track"], config.topics["segment.page"]
    day = str(86_400_000)
    async with opened(config) as admin:
        await create(admin, [Topic(track, 1, 1, {"retention.ms": day, "segment.bytes": "20000000"})])
        await create(admin, [Topic(page, 3, 1, {"retention.ms": "-1", "cleanup.policy": "compact"})])
    await carry_out(config, plan(config, await there(config)))
    found = (await there(config)).topics
    assert found["segment.track"].settings["retention.ms"] == str(3 * 86_400_000)
    assert found["segment.track"].settings["segment.bytes"] == "20000000"  # what is not ours stays
    assert found["segment.track"].partitions == 1  # or keys would move
    assert found["segment.page"].settings["retention.ms"] == "-1"  # or messages would go
    assert found["segment.page"].settings["cleanup.policy"] == "delete"
    told = "\n".join(await differences(config))
    assert "raw topics have different numbers of partitions" in told
    assert f"{track}: 1 partitions, log.partitions is 2" in told
    assert f"{page}: kept for ever, log.retention_days is 3" in told
    await carry_out(config, plan(config, await there(config), more_partitions=True))
    assert (await there(config)).topics["segment.track"].partitions == 2


@pytest.mark.slow
async def test_what_the_brokers_refuse_is_said_with_its_topic(config: Config) -> None:
    too_many = structs.replace(config, kafka=structs.replace(config.kafka, replication_factor=30))
    with pytest.raises(LogError, match=r"segment\.track.*replication factor of 30"):
        await carry_out(too_many, plan(too_many, await there(too_many)))
    async with opened(config) as admin:
        with pytest.raises(LogError, match=r"no\.such.*does not exist"):
            await set_up(admin, "no.such", {"retention.ms": "1"})
        assert await settings(admin, []) == {}


def changed(name: str = "segment.track", partitions: int = 4, copies: int = 3, **given: str) -> list[str]:
    """What it costs if this topic is so."""
    every = wanted(WANTED)
    own = {key.replace("_", "."): value for key, value in given.items()}
    every[name] = Topic(name, partitions, copies, {**every[name].settings, **own})
    return list(costs(WANTED, There(every, 3)))


def test_topics_as_they_are_wanted_cost_nothing() -> None:
    assert changed() == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"min_insync_replicas": "1"},
            "min.insync.replicas is 1 with 3 copies: what was acknowledged may be on",
        ),
        ({"copies": 2}, "one broker away, and nothing is taken"),
        ({"copies": 1}, "1 copies, kafka.replication_factor is 3"),
        ({"unclean_leader_election_enable": "true"}, "what it lacked is lost"),
        ({"retention_ms": "86400000"}, "kept for 1 days, log.retention_days is 14"),
        ({"retention_bytes": "1000"}, "under load messages go before their time"),
        ({"max_message_bytes": "1000"}, "what is larger is not processed"),
        ({"cleanup_policy": "compact"}, "cleanup.policy is compact, not delete: older messages of a person vanish"),
        ({"message_timestamp_type": "LogAppendTime"}, "what was spilled or moved gets the time"),
        ({"partitions": 8}, "8 partitions, log.partitions is 4"),
    ],
)
def test_each_difference_is_told_with_what_it_costs(given: dict[str, object], told: str) -> None:
    assert any(line.startswith("segment.track: ") and told in line for line in changed(**given))  # type: ignore[arg-type]


def test_the_profiles_for_others_are_compacted_and_erased_ones_go_in_time() -> None:
    with_profile = structs.replace(WANTED, publish=structs.replace(WANTED.publish, profile=True))
    [given] = [one.settings for name, one in wanted(with_profile).items() if name == topics.PERSON_PROFILE]
    assert given["cleanup.policy"] == "compact" and int(given["max.compaction.lag.ms"]) == 14 * 86_400_000
    assert topics.PERSON_PROFILE not in wanted(WANTED)


def test_brokers_that_cannot_tell_which_very_topic_they_hold_are_refused() -> None:
    with pytest.raises(LogRefused, match=r"older than Kafka 2\.8"):
        Look(["segment.track"]).prepare({3: (0, 9)})
