"""The receiver: single events, batches, and the way from a POST to person.changed. See docs/operating.md."""

import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from benchmarks.load import Order, Result
from benchmarks.table import Goal, Row, ratio
from benchmarks.traffic import Mix


async def post(quick: bool) -> Row:
    """Single events, durable, against the same HTTP stack that keeps nothing."""
    ours, plain, waits = [], [], []
    async with _served("nothing") as nothing, _served("receiver") as receiver:
        for port in (nothing, receiver):
            await _load(Order(port=port, seconds=1.0))
        for _ in range(3 if quick else 7):
            plain.append((await _load(Order(port=nothing, seconds=1.0 if quick else 2.0))).per_second)
            result = await _load(Order(port=receiver, seconds=1.0 if quick else 2.0))
            ours.append(result.per_second)
            waits.append(result.wait(0.99))
    goals = (Goal("of its requests/s", ratio(ours, plain), 0.75),)
    figures = {"requests/s": ours, "plain requests/s": plain, "p99 s": waits}
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
