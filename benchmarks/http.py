"""The receiver: single events, batches, and the way from a POST to person.changed. See docs/operating.md."""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import msgspec

from benchmarks import traffic
from benchmarks.load import Order, Result
from benchmarks.served import config
from benchmarks.table import Goal, Row, ratio
from benchmarks.traffic import Mix
from stream import lag, topics
from stream.building import build
from stream.log.sqlite import SqliteHistory
from stream.message import Partition
from stream.store import Store

_LOOK_S = 0.002  # how often another process asks the log for news


async def post(quick: bool) -> Row:
    """Single events, durable, against the same HTTP stack that keeps nothing and checks no signature; as it comes
    without a secret, and with one."""
    figures: dict[str, list[float]] = {kind: [] for kind in ("nothing", "unsigned", "receiver")}
    seconds = 1.0 if quick else 2.0
    async with _served("nothing") as nothing, _served("unsigned") as unsigned, _served("receiver") as receiver:
        ports = {"nothing": nothing, "unsigned": unsigned, "receiver": receiver}
        for port in ports.values():
            await _load(Order(port=port, seconds=1.0))
        for _ in range(3 if quick else 7):
            for kind, port in ports.items():
                figures[kind].append((await _load(Order(port=port, seconds=seconds))).per_second)
    goals = (
        Goal("of its requests/s", ratio(figures["unsigned"], figures["nothing"]), 0.75),
        Goal("with a signature to check", ratio(figures["receiver"], figures["nothing"]), 0.75),
    )
    return Row("post", "single-event POST, durable", "the same aiohttp stack, keeping nothing", goals, figures)


async def batch(quick: bool) -> Row:
    """Batches of 1,000 events, durable, against cutting and routing them."""
    ours, plain = [], []
    order = Order(port=0, seconds=1.0 if quick else 2.0, batch=1_000, connections=8)
    async with _served("cut") as cut, _served("receiver") as receiver:
        for port in (cut, receiver):
            await _load(msgspec.structs.replace(order, port=port, seconds=0.5))
        for _ in range(3 if quick else 5):
            plain.append(1_000 * (await _load(msgspec.structs.replace(order, port=cut))).per_second)
            ours.append(1_000 * (await _load(msgspec.structs.replace(order, port=receiver))).per_second)
    goals = (
        Goal("of its events/s", ratio(ours, plain), 0.4),
        Goal("events/s here", statistics.median(ours), 60_000),
    )
    figures = {"events/s": ours, "plain events/s": plain}
    return Row("batch", "batch POST of 1,000 events, durable", "cutting and routing only", goals, figures)


async def half(quick: bool) -> Row:
    """Single events at half of what the receiver can take, with the four projections keeping up."""
    seconds = 4.0 if quick else 10.0
    with tempfile.TemporaryDirectory() as folder:
        async with _served("whole", Path(folder)) as port:
            rate = await _half(port, Path(folder))
            await _load(Order(port=port, seconds=2.0, rate=rate))
            result = await _load(Order(port=port, seconds=seconds, rate=rate, mix=Mix(first=1_000_000)))
            behind = await _behind(Path(folder)) / rate
    goals = (
        Goal("ms p99", 1_000 * result.wait(0.99), 20.0, at_most=True),
        Goal("s behind at the end", behind, 1.0, at_most=True),
    )
    figures = {"requests/s": [rate], "p50 s": [result.wait(0.5)], "p99 s": [result.wait(0.99)]}
    return Row("half", f"the same at half load ({rate:,.0f}/s), four projections keeping up", "-", goals, figures)


async def changed(quick: bool) -> Row:
    """From a POST that changes a trait to its message in person.changed, as another process reads it."""
    seconds, share = (4.0 if quick else 10.0), 0.01
    with tempfile.TemporaryDirectory() as folder:
        async with _served("whole", Path(folder)) as port:
            rate = await _half(port, Path(folder))
            await _load(Order(port=port, seconds=2.0, rate=rate))
            order = Order(port=port, seconds=seconds, rate=rate, mix=Mix(first=1_000_000, identifies=share))
            waits = await _seen(Path(folder), order)
    p95 = sorted(waits)[int(0.95 * len(waits))]
    goals = (Goal("ms p95", 1_000 * p95, 50.0, at_most=True),)
    figures = {"requests/s": [rate], "seen": [float(len(waits))], "p50 s": [statistics.median(waits)], "p95 s": [p95]}
    return Row("changed", "POST to readable in person.changed, at half load", "-", goals, figures)


async def _half(port: int, folder: Path) -> float:
    """Half of the requests a second that this process takes at full load and has projected: from the first POST until
    all of them are read by every projection."""
    await _load(Order(port=port, seconds=1.0, mix=Mix(first=10_000_000)))
    await _caught_up(folder)
    begun = time.monotonic()
    result = await _load(Order(port=port, seconds=3.0, mix=Mix(first=11_000_000)))
    await _caught_up(folder)
    return result.requests / (time.monotonic() - begun) / 2


async def _caught_up(folder: Path) -> None:
    while await _behind(folder):
        await asyncio.sleep(0.05)


async def _behind(folder: Path) -> int:
    """How many messages the projection that is furthest behind has yet to read."""
    settings = config(folder)
    async with (
        SqliteHistory.open_readonly(folder / "log.db") as log,
        Store.open(settings.store.url, settings.identity) as store,
    ):
        readers = lag.readers(build(settings).processors)
        return max(one.behind for one in await lag.measure(log, await store.positions.all(), readers))


async def _seen(folder: Path, order: Order) -> list[float]:
    """For each person that the load changes: seconds from when its POST was due to when the change was read."""
    assert order.rate is not None
    sent = traffic.events(order.mix, int(order.rate * order.seconds))
    due = {
        f"user:{user}": n / order.rate for n, (kind, user, _) in reversed(list(enumerate(sent))) if kind == "identify"
    }
    seen: dict[str, float] = {}
    async with SqliteHistory.open_readonly(folder / "log.db", wait=_LOOK_S) as log:
        bounds = await log.bounds([topics.PERSON_CHANGED])
        starts = {partition: end for partition, (_, end) in bounds.items()}

        async def start(partitions: Collection[Partition]) -> dict[Partition, int]:
            return {partition: starts[partition] for partition in partitions}

        async def stop(partitions: Collection[Partition]) -> None:
            pass

        async with log.consume("benchmark", [topics.PERSON_CHANGED], start, stop) as cursor:
            running = asyncio.create_task(_load(order))
            while not running.done() or len(seen) < len(due):
                for delivery in await cursor.fetch(1_000):
                    seen.setdefault(delivery.message.key.decode(), time.monotonic())
            begun = (await running).begun
    return [seen[person] - begun - at for person, at in due.items()]


@contextlib.asynccontextmanager
async def _served(kind: str, folder: Path | None = None) -> AsyncIterator[int]:
    """The port of a server in a process of its own (benchmarks/served.py)."""
    with tempfile.TemporaryDirectory() as temporary:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.served", kind, str(folder or temporary)), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            yield int(await process.stdout.readline())
        finally:
            process.terminate()
            await process.wait()


async def _load(order: Order) -> Result:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate(msgspec.json.encode(order))
    result = msgspec.json.decode(answer, type=Result)
    if result.failed or not result.requests:
        raise RuntimeError(f"{result.failed} of {result.failed + result.requests} requests failed")
    return result
