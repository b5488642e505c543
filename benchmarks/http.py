"""The receiver: single events, batches, and the way from a POST to person.changed. See docs/operating.md."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from benchmarks import pace, traffic
from benchmarks.load import Order, load
from benchmarks.served import config, serving
from benchmarks.table import Goal, Row, ratio
from benchmarks.traffic import Mix
from stream import topics
from stream.log.sqlite import SqliteHistory
from stream.message import Partition

_LOOK_S = 0.002  # how often another process asks the log for news


async def post(quick: bool) -> Row:
    """Single events, durable, against the same HTTP stack that keeps nothing and checks no signature; as it comes
    without a secret, and with one."""
    figures: dict[str, list[float]] = {kind: [] for kind in ("nothing", "unsigned", "receiver")}
    seconds = 1.0 if quick else 2.0
    async with serving("nothing") as nothing, serving("unsigned") as unsigned, serving("receiver") as receiver:
        ports = {"nothing": nothing, "unsigned": unsigned, "receiver": receiver}
        for port in ports.values():
            await load(Order(port=port, seconds=1.0))
        for _ in range(3 if quick else 7):
            for kind, port in ports.items():
                figures[kind].append((await load(Order(port=port, seconds=seconds))).per_second)
    goals = (
        Goal("of its requests/s", ratio(figures["unsigned"], figures["nothing"]), 0.75),
        Goal("with a signature to check", ratio(figures["receiver"], figures["nothing"]), 0.75),
    )
    return Row("post", "single-event POST, durable", "the same aiohttp stack, keeping nothing", goals, figures)


async def batch(quick: bool) -> Row:
    """Batches of 1,000 events, durable, against cutting and routing them."""
    ours, plain = [], []
    order = Order(port=0, seconds=1.0 if quick else 2.0, batch=1_000, connections=8)
    async with serving("cut") as cut, serving("receiver") as receiver:
        for port in (cut, receiver):
            await load(msgspec.structs.replace(order, port=port, seconds=0.5))
        for _ in range(3 if quick else 5):
            plain.append(1_000 * (await load(msgspec.structs.replace(order, port=cut))).per_second)
            ours.append(1_000 * (await load(msgspec.structs.replace(order, port=receiver))).per_second)
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
        async with serving("whole", Path(folder)) as port:
            rate = await pace.half(Order(port=port, seconds=3.0), config(Path(folder)))
            await load(Order(port=port, seconds=2.0, rate=rate))
            result = await load(Order(port=port, seconds=seconds, rate=rate, mix=Mix(first=1_000_000)))
            behind = await pace.behind(config(Path(folder))) / rate
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
        async with serving("whole", Path(folder)) as port:
            rate = await pace.half(Order(port=port, seconds=3.0), config(Path(folder)))
            await load(Order(port=port, seconds=2.0, rate=rate))
            order = Order(port=port, seconds=seconds, rate=rate, mix=Mix(first=1_000_000, identifies=share))
            waits = await _seen(Path(folder), order)
    p95 = sorted(waits)[int(0.95 * len(waits))]
    goals = (Goal("ms p95", 1_000 * p95, 50.0, at_most=True),)
    figures = {"requests/s": [rate], "seen": [float(len(waits))], "p50 s": [statistics.median(waits)], "p95 s": [p95]}
    return Row("changed", "POST to readable in person.changed, at half load", "-", goals, figures)


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
            running = asyncio.create_task(load(order))
            while not running.done() or len(seen) < len(due):
                for delivery in await cursor.fetch(1_000):
                    seen.setdefault(delivery.message.key.decode(), time.monotonic())
            begun = (await running).begun
    return [seen[person] - begun - at for person, at in due.items()]
