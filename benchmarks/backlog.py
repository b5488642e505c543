"""A backlog: the four projections read a log that was filled before they started. Memory must not grow with it, and
time only in proportion. Each size is a process of its own, so that its peak of memory is its own.

    python -m benchmarks.backlog FOLDER    reads the log there to its end, and prints a Read as JSON
"""

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct

from benchmarks import traffic
from benchmarks.served import config
from benchmarks.table import Goal, Row
from stream.app import App, tune
from stream.log.sqlite import SqliteLog

_LOOK_S = 0.05


class Read(Struct, frozen=True):
    """What reading a backlog took: seconds, and the largest resident size in MiB."""

    seconds: float
    peak: float


async def backlog(quick: bool) -> Row:
    """Ten thousand events to a million."""
    sizes = (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000)
    found = [await _measured(size) for size in sizes]
    each = [read.seconds / size for read, size in zip(found, sizes, strict=True)]
    goals = (
        Goal(f"x memory of {sizes[0]:,}", found[-1].peak / found[0].peak, 1.2, at_most=True),
        # The smallest is mostly people seen for the first time; from there on a straight line.
        Goal(f"x time per event of {sizes[-2]:,}", each[-1] / each[-2], 1.2, at_most=True),
    )
    figures = {"events": [*map(float, sizes)], "s": [r.seconds for r in found], "peak MiB": [r.peak for r in found]}
    return Row(
        "backlog", f"backlog {sizes[0]:,} to {sizes[-1]:,}, four projections", "its smaller sizes", goals, figures
    )


async def _measured(size: int) -> Read:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with SqliteLog.open(folder / "log.db", partitions=4, clock=time.time) as log:
            for first in range(0, size, 1_000):
                await log.append(list(traffic.messages(traffic.Mix(first, identifies=0.05), 1_000)))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.backlog", temporary), stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await process.communicate()
        return msgspec.json.decode(answer, type=Read)


async def _read(folder: Path) -> Read:
    async with App.open(config(folder)) as app:
        begun = time.perf_counter()
        running = asyncio.create_task(app.worker.run())
        while not running.done() and any([lag.behind for lag in await app.worker.lags()]):
            await asyncio.sleep(_LOOK_S)
        took = time.perf_counter() - begun
        if running.done():
            await running
        running.cancel()
        await asyncio.wait((running,))
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return Read(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


if __name__ == "__main__":
    tune()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.buffer.write(msgspec.json.encode(runner.run(_read(Path(sys.argv[1])))))
