"""The same work from one, two and four members, each a process of its own, from a backlog on a real Kafka to
PostgreSQL: events a second in all, and the cores that members, broker and database use meanwhile. Whoever uses all that
it may have is what bounds it: the broker and the database share the last core, the members have the others. On two
cores all the members share one: more of them do more only where they wait."""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psutil
from aiokafka.errors import KafkaError
from msgspec import Struct

from benchmarks import servers
from benchmarks.table import Goal, Row
from stream import lag
from stream.building import build
from stream.config import Config, load
from stream.log import Log
from stream.log.opening import kafka
from stream.message import Partition
from stream.store import Store

MEMBERS, PARTITIONS = (1, 2, 4), 8
_LOOK_S, _JOIN_S = 0.1, 60.0
_TOML = """
[log]
url = "kafka://{broker}"
[kafka]
group_prefix = "{prefix}-"
session_timeout_s = 6.0  # members hear of each other every tenth of it
[store]
url = "{store}"
[processors.profiles]
[processors.audiences]
[processors.consent]
[processors.deletion]
[processors."benchmarks.waiting"]
concurrency = 4
"""


class Work(Struct, frozen=True):
    """What members run, on how many events, and for how long it is watched at most, all shared among the members."""

    part: str
    processor: str
    backlog: int
    seconds: float


class Site(Struct, frozen=True):
    """Where it runs."""

    folder: Path
    log: Log
    broker: str
    database: str


async def profiles(quick: bool) -> Row:
    """`profiles` of tracks."""
    work = Work("profiles", "profiles", 100_000 if quick else 300_000, 30.0)
    return await _row("kafka-members", "profiles, Kafka to PostgreSQL", work, quick)


async def waiting(quick: bool) -> Row:
    """A reactor whose handle() waits for 2 ms, for four people at once."""
    work = Work("benchmarks.waiting", "waiting", 50_000 if quick else 100_000, 4.0 if quick else 10.0)
    return await _row("kafka-members-waiting", "a reactor that waits 2 ms, 4 at once", work, quick)


async def _row(name: str, what: str, work: Work, quick: bool) -> Row:
    figures: dict[str, list[float]] = {}
    async with _site() as site:
        await servers.fill(site.log, work.backlog)
        for _ in range(1 if quick else 3):
            for members in MEMBERS:
                for figure, value in (await _measured(site, work, members)).items():
                    figures.setdefault(f"{figure} from {members}", []).append(value)
    goals = tuple(Goal(figure, statistics.median(values)) for figure, values in figures.items())
    return Row(name, f"{what}, 1, 2 and 4 members", "-", goals, figures)


@contextlib.asynccontextmanager
async def _site() -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory() as temporary:
        async with (
            servers.postgres() as database,
            servers.broker_apart(PARTITIONS) as broker,
            servers.log_on(broker) as log,
        ):
            yield Site(Path(temporary), log, broker, database)


async def _measured(site: Site, work: Work, members: int) -> dict[str, float]:
    """From when all members share the partitions until the backlog is read, or for as long as that is watched."""
    settings = await _settings(site)
    async with Store.open(settings.store, settings.identity) as store:
        ends = await _begin(site.log, store, settings, work)
        async with _running(settings.folder, work.part, members) as processes:
            await _joined(settings, work.processor, members)
            return await _watched(store, work, ends, processes)


async def _settings(site: Site) -> Config:
    """Of a group that nobody was in, and an empty store."""
    store, prefix = await servers.emptied(site.database), uuid.uuid4().hex
    file = site.folder / "stream.toml"
    file.write_text(_TOML.format(broker=site.broker, prefix=prefix, store=store.url))
    return load(file)


async def _begin(log: Log, store: Store, settings: Config, work: Work) -> Mapping[Partition, int]:
    """Puts it at the beginning, where a new reactor is not by itself; the ends."""
    (reader,) = lag.readers(one for one in build(settings).processors if one.name == work.processor)
    bounds = await log.bounds(reader.topics)
    starts = {partition: first for partition, (first, _) in bounds.items()}
    await store.positions.begin(work.processor, starts, await log.identities(reader.topics))
    return {partition: end for partition, (_, end) in bounds.items()}


@contextlib.asynccontextmanager
async def _running(folder: Path, part: str, members: int) -> AsyncIterator[list[psutil.Process]]:
    command = (sys.executable, "-m", "stream", "--config", str(folder / "stream.toml"), "run", part)
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL) for _ in range(members)
    ]
    try:
        yield [psutil.Process(one.pid) for one in processes]
    finally:
        for one in processes:
            one.terminate()
        await asyncio.gather(*(one.wait() for one in processes))


async def _joined(settings: Config, processor: str, members: int) -> None:
    """Returns once so many members share the partitions."""
    group = settings.kafka.group_prefix + processor
    async with kafka(settings) as there, there.admin() as admin, asyncio.timeout(_JOIN_S):
        while True:
            with contextlib.suppress(KafkaError):  # the group's coordinator comes with its first member
                ((_, _, state, _, _, joined, *_),) = (await admin.describe_consumer_groups([group]))[0].groups
                if state == "Stable" and len(joined) == members:
                    return
            await asyncio.sleep(_LOOK_S)


async def _watched(
    store: Store, work: Work, ends: Mapping[Partition, int], processes: list[psutil.Process]
) -> dict[str, float]:
    servers_of = {one.name(): one for one in psutil.Process().children()}
    who = {"members": processes, "Kafka": [servers_of["java"]], "PostgreSQL": [servers_of["postgres"]]}
    begun, first = time.perf_counter(), await _read(store, work)
    before = {name: sum(map(_used, those)) for name, those in who.items()}
    done = first
    while done < sum(ends.values()) and time.perf_counter() - begun < work.seconds:
        await asyncio.sleep(_LOOK_S)
        done = await _read(store, work)
    took = time.perf_counter() - begun
    if done == first:
        raise RuntimeError(f"{work.processor} has read nothing since all members share it: a larger backlog is needed")
    cores = {name: (sum(map(_used, those)) - before[name]) / took for name, those in who.items()}
    return {"events/s": (done - first) / took} | {f"cores ({name})": used for name, used in cores.items()}


async def _read(store: Store, work: Work) -> int:
    return sum((await store.positions.all())[work.processor].values())


def _used(process: psutil.Process) -> float:
    """Seconds of CPU that it and its children have used."""
    own = process.cpu_times()
    used: float = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            used += sum(child.cpu_times()[:2])
    return used
