"""Profiles from a real Kafka, to PostgreSQL and to SQLite, against plain loops over the same topics. The broker and the
database share the last core."""

import contextlib
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from msgspec import structs
from prometheus_client import CollectorRegistry

from benchmarks import plain, servers
from benchmarks.projections import Nothing, row
from benchmarks.served import config
from benchmarks.table import Goal, Row, ratio
from stream import topics
from stream.batch import Surroundings
from stream.building import build
from stream.config import Config
from stream.log import Log
from stream.message import Message
from stream.places import LogConfig, StoreConfig
from stream.processor import Projection
from stream.projector import BATCH, Projector
from stream.publisher import Publisher
from stream.store import Store
from stream.telemetry import Metrics
from stream.turns import Turns

_FOLDED = "getmany, decode, fold by user, {} a batch, commit"
_FETCH = {"max_partition_fetch_bytes": 4 * 1024 * 1024, "enable_auto_commit": False, "auto_offset_reset": "earliest"}


async def nothing(quick: bool) -> Row:
    """A projection that does nothing, from Kafka; its positions go to PostgreSQL, the plain loop's to Kafka."""
    async with servers.postgres() as url:
        ours, loop = await _compare(quick, lambda folder, number: servers.emptied(url), _routing, Nothing())
    goals = (Goal("of its events/s", ratio(ours, loop), 0.75),)
    against = "getmany, decode routing fields, commit"
    return row("kafka-nothing", "a projection that does nothing, from Kafka", against, goals, ours, loop)


async def to_postgres(quick: bool) -> Row:
    """Profiles of tracks, from Kafka to PostgreSQL."""
    async with servers.postgres() as url:
        ours, loop = await _compare(quick, lambda folder, number: servers.emptied(url), lambda _: _upserting(url))
    goals = (
        Goal("of its events/s", ratio(ours, loop), 0.8),
        Goal("events/s here", statistics.median(ours), 25_000),
    )
    against = _FOLDED.format("unnest + ON CONFLICT")
    return row("kafka-postgres", "profiles from Kafka to PostgreSQL", against, goals, ours, loop)


async def to_sqlite(quick: bool) -> Row:
    """Profiles of tracks, from Kafka to SQLite."""
    ours, loop = await _compare(quick, _file, _folding)
    goals = (Goal("of its events/s", ratio(ours, loop), 0.8),)
    return row("kafka-sqlite", "profiles from Kafka to SQLite", _FOLDED.format("one upsert"), goals, ours, loop)


Place = Callable[[Path, int], Awaitable[StoreConfig]]
Deal = Callable[[list[Message]], Any]
Dealing = Callable[[Path], contextlib.AbstractAsyncContextManager[Deal]]


async def _compare(
    quick: bool, place: Place, dealing: Dealing, projection: Projection | None = None
) -> tuple[list[float], list[float]]:
    """Events per second of ours (of `profiles`, if of none) and of the plain loop, in turn, each round from empty
    state; the first warms."""
    rounds, timed = (3, 20_000) if quick else (7, 40_000)
    ours, loop = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with servers.broker_apart() as broker:
            settings = config(folder, log=LogConfig(url=f"kafka://{broker}"))
            projection = projection or build(settings).some(["profiles"]).projections[0]
            read = [topics.RAW[kind] for kind in projection.topics]
            async with servers.log_on(broker) as log:
                await servers.fill(log, 2 * timed + 2 * BATCH)
            for number in range(rounds + 1):
                async with dealing(folder) as deal:
                    loop.append(await _looped(broker, read, deal, timed))
                state = await place(folder, number)
                async with servers.log_on(broker, f"{number}-") as log:
                    ours.append(await _projected(structs.replace(settings, store=state), projection, log, timed))
    return ours[1:], loop[1:]


async def _looped(broker: str, read: Collection[str], deal: Deal, timed: int) -> float:
    consumer = AIOKafkaConsumer(
        *read,
        bootstrap_servers=broker,
        group_id=uuid.uuid4().hex,
        partition_assignment_strategy=(RangePartitionAssignor,),
        **_FETCH,
    )
    async with consumer:
        done, begun = 0, 0.0
        while done < 2 * timed:
            if done >= timed and not begun:
                begun, at = time.perf_counter(), done
            found = await consumer.getmany(max_records=BATCH, timeout_ms=200)
            batch = [Message(one.topic, one.key, one.value) for records in found.values() for one in records]
            if batch:
                await deal(batch)
                await consumer.commit({at: records[-1].offset + 1 for at, records in found.items()})
            done += len(batch)
        return (done - at) / (time.perf_counter() - begun)


async def _projected(settings: Config, projection: Projection, log: Log, timed: int) -> float:
    async with Store.open(settings.store, settings.identity) as store:
        around = Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), time.time)
        projector = Projector(projection, around, Publisher(projection.name, around, False))
        async with projector.joined() as cursor:
            done, begun = 0, 0.0
            while done < 2 * timed:
                if done >= timed and not begun:
                    begun, at = time.perf_counter(), done
                done += await projector.step(cursor)
            return (done - at) / (time.perf_counter() - begun)


async def _file(folder: Path, number: int) -> StoreConfig:
    return StoreConfig(url=f"sqlite:{folder / f'{number}-ours.db'}")


@contextlib.asynccontextmanager
async def _routing(folder: Path) -> AsyncIterator[Deal]:
    async def deal(batch: list[Message]) -> None:
        plain.route(batch)

    yield deal


@contextlib.asynccontextmanager
async def _upserting(url: str) -> AsyncIterator[Deal]:
    connection = await asyncpg.connect(url)
    await connection.execute(_PERSON)

    async def deal(batch: list[Message]) -> None:
        rows = plain.folded(batch)
        async with connection.transaction():
            await connection.execute(_UPSERT, *map(list, zip(*rows, strict=True)))

    yield deal
    await connection.close()


@contextlib.asynccontextmanager
async def _folding(folder: Path) -> AsyncIterator[Deal]:
    with contextlib.closing(plain.opened(folder / f"{uuid.uuid4().hex}-plain.db")) as state:
        fold = plain.Fold(state)

        async def deal(batch: list[Message]) -> None:
            state.execute("BEGIN IMMEDIATE")
            fold(batch)
            state.execute("COMMIT")

        yield deal


_PERSON = """
DROP TABLE IF EXISTS person;
CREATE TABLE person (id TEXT COLLATE "C" PRIMARY KEY, first TEXT, last TEXT, seen BIGINT, facts JSONB)
  WITH (fillfactor = 70)
"""
_UPSERT = """
INSERT INTO person AS had (id, first, last, seen, facts)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[]::jsonb[])
ON CONFLICT (id) DO UPDATE SET first = least(had.first, excluded.first), last = greatest(had.last, excluded.last),
  seen = had.seen + excluded.seen, facts = had.facts || excluded.facts
"""
