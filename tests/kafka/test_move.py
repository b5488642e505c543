"""stream move: an embedded installation onto a real Kafka and PostgreSQL, nothing lost and nothing done again."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result

from stream import topics
from stream.config import Config, load
from stream.errors import LogUnavailable
from stream.log.kafka import Kafka
from stream.log.kafka_admin import delete
from stream.log.kafka_copy import KafkaCopier
from stream.log.opening import looked_at
from stream.log.sqlite import SqliteLog
from stream.message import Message, Partition
from stream.moving import copy, plan
from stream.places import brokers, file_of
from stream.store import Store, moved
from tests.embedded import Clock, Embedded, message

NOW = 1_700_000_000.0
OLD = """
[log]
url = "sqlite:old/log.db"
[store]
url = "sqlite:old/state.db"
[publish]
profile = true
[processors.profiles]
[processors.audiences]
[processors.consent]
[processors.deletion]
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def new(kafka_config: Config, postgres_url: str, tmp_path: Path) -> Path:
    """The configuration of the new installation."""
    names = "\n".join(f'"{ours}" = "{called}"' for ours, called in kafka_config.topics.items())
    file = tmp_path / "new.toml"
    file.write_text(
        OLD.replace("sqlite:old/log.db", kafka_config.log.url)
        .replace("sqlite:old/state.db", postgres_url)
        .replace("[store]", f"partitions = {kafka_config.log.partitions}\n[store]")
        + f'[kafka]\ngroup_prefix = "{kafka_config.kafka.group_prefix}"\n'
        + f"replication_factor = 1\nmin_insync_replicas = 1\n[topics]\n{names}\n"
    )
    return file


@pytest.fixture
async def old(tmp_path: Path) -> Path:
    """An embedded installation with a past: people, a deletion, a delivery that died, some that nobody has read."""
    file = tmp_path / "old.toml"
    file.write_text(OLD)
    (tmp_path / "old").mkdir()
    clock = Clock(NOW)
    async with Embedded.open(tmp_path / "old", load(file), clock) as system:
        for number in range(200):
            clock.now = NOW + number
            await system.send(*_of(number))
        await system.send(message("delete", clock.now, userId="7"))
        await system.settle()
        clock.now += 60
        for number in range(200, 250):
            await system.send(*_of(number))
        await system.read("profiles")
    return file


@pytest.fixture
def move(new: Path, run: Callable[..., Result]) -> Callable[..., "asyncio.Future[Result]"]:
    """Runs the command in a thread, as another process would."""
    return partial(asyncio.to_thread, run, "--config", new, "move")


def _of(number: int) -> list[Message]:
    user = str(number % 40)
    seen = message("identify", NOW + number, userId=user, anonymousId=f"a{user}", traits={"n": number, "é": "\u0000"})
    return [seen, message("track", NOW + number, userId=user, event="Order", properties={"total": number})]


async def _log(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything in a log, by topic and partition, offsets counted from the first."""
    found: dict[str, list[tuple[object, ...]]] = {}
    async with looked_at(load(file)) as log:
        bounds = await log.bounds(topics.ALL)
        for topic in topics.ALL:
            async for one in log.read(topic):
                place = f"{topic}/{one.partition.number}"
                offset = one.offset - bounds[one.partition][0]
                what = (offset, one.message.key, one.message.value, one.message.headers, round(one.time, 3))
                found.setdefault(place, []).append(what)
    return found


async def _state(file: Path) -> dict[str, object]:
    """What a store remembers, positions counted from the first offset of the log."""
    config = load(file)
    async with looked_at(config) as log, Store.open(config.store, config.identity) as store:
        first = {partition: begin for partition, (begin, _) in (await log.bounds(topics.ALL)).items()}
        query = "SELECT tbl, subject, version, value FROM rows ORDER BY tbl, subject"
        return {
            "rows": await store.db.reading(lambda tx: tx.all(query)),
            "positions": {
                name: {p: at - first[p] for p, at in sorted(positions.items())}
                for name, positions in sorted((await store.positions.all()).items())
            },
            "fates": await store.positions.fates(),
            "deletions": [(one.id, one.state) for one in await store.deletions.every()],
            "hashed": store.people.hash("user:7"),
        }


async def test_a_move_takes_messages_positions_and_state_along_once(old, new, move, run):
    before, state = await _log(old), await _state(old)
    said = json.loads((await move(old, "--dry-run", "--json")).stdout)
    assert said["messages"]["segment.track"] == [250, 250] and said["rows"]["rows"] >= 40 and not said["moved"]
    assert (await _log(new), (await _state(new))["positions"]) == ({}, {})
    done = await move(old, "--json")
    assert done.exit_code == 0, done.output + done.stderr
    assert json.loads(done.stdout)["moved"]
    assert (await _log(new), await _state(new)) == (before, state)
    assert sum(map(len, before.values())) > 500 and state["rows"]
    assert (await move(old)).exit_code == 0
    assert (await _log(new), await _state(new)) == (before, state)
    refused = await asyncio.to_thread(run, "--config", old, "lag")
    assert refused.exit_code == 1 and "was moved to postgresql://" in refused.stderr


async def test_a_move_that_was_cut_off_goes_on_and_copies_nothing_twice(old, new, move):
    before, config = await _log(old), load(new)

    class Cut:
        """Copies a part of what it is given, and then the connection is gone."""

        async def copy(self, partition, deliveries):
            await copier.copy(partition, deliveries[: len(deliveries) // 2])
            raise LogUnavailable("gone")

    there = Kafka(brokers(config.log.url), config.kafka, config.topics, lambda: NOW)
    started = await move(old, "--dry-run")
    assert started.exit_code == 0
    was = load(old)
    async with (
        SqliteLog.open(file_of(was.log.url), partitions=4, clock=lambda: NOW) as log,
        looked_at(config) as target,
        Store.open(config.store, config.identity) as store,
        KafkaCopier.open(there) as copier,
    ):
        parts = await plan(log, target, {})
        begins = [(p.partition.topic, p.partition.number, p.begin) for p in parts]
        await moved.begin(store.db, moved.Begun(log.identity, begins))
        with pytest.raises(LogUnavailable):
            await copy(log, Cut(), parts, lambda more: None)
    assert 0 < sum(map(len, (await _log(new)).values())) < sum(map(len, before.values()))
    done = await move(old)
    assert done.exit_code == 0, done.output
    assert await _log(new) == before


async def test_what_the_new_installation_does_not_publish_needs_no_topic_there(old, new, move):
    new.write_text(new.read_text().replace("profile = true", "profile = false"))
    config = load(new)
    async with Kafka(brokers(config.log.url), config.kafka, config.topics, lambda: NOW).admin() as admin:
        await delete(admin, [config.topics[topics.PERSON_PROFILE]])
    done = await move(old, "--json")
    assert done.exit_code == 0, done.output + done.stderr
    assert topics.PERSON_PROFILE not in json.loads(done.stdout)["messages"]


async def test_what_is_not_empty_is_refused_and_left_alone(old, new, move):
    config = load(new)
    async with Store.open(config.store, config.identity) as store:
        await store.positions.begin("signups", {Partition("segment.track", 0): 0}, {"segment.track": "log"})
    said = await move(old)
    assert said.exit_code == 1 and "the store is not empty (positions)" in said.stderr
    assert await _log(new) == {}
    there = Kafka(brokers(config.log.url), config.kafka, config.topics, lambda: NOW)
    async with Store.open(config.store, config.identity) as store:
        await store.db.writing(lambda tx: tx.run("DELETE FROM positions"))
    async with looked_at(load(old)) as log, KafkaCopier.open(there) as copier:
        some = [one async for one in log.read("segment.track") if one.partition.number == 0][:1]
        await copier.copy(Partition("segment.track", 0), some)
    said = await move(old)
    assert said.exit_code == 1 and "segment.track/0 already holds 1 messages there" in said.stderr
    assert (await _state(new))["positions"] == {}
