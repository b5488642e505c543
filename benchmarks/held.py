"""What many held deliveries cost: to list them, to start with them, to keep them. See docs/operating.md.

python -m benchmarks.held FOLDER    runs what is configured there for a while; prints a line once it runs, and then
                                    the largest resident size in MiB
"""

import asyncio
import contextlib
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import uvloop
from msgspec import Struct

from benchmarks import traffic
from benchmarks.served import config, forwarding
from benchmarks.table import Goal, Row
from stream.app import App, tune
from stream.log.sqlite import SqliteLog
from stream.message import Delivery, Partition
from stream.store import Held, Store
from stream.store.database import Transaction
from stream.store.lanes import Lane

PROCESSOR, LANES = "forward.copy", 10_000  # as many as there are without a setting (max_held_lanes)
_URL = "http://127.0.0.1:9/"  # nothing is due, so nothing is sent
_NARROWED = ((), ("--processor", PROCESSOR), ("--reason", "http_500"), ("--processor", PROCESSOR, "--reason", "behind"))
_PAGE = 10_000
_RUNS_S = 5.0
_TOML = f"""
[receiver]
host = "127.0.0.1"
port = 0
[processors.profiles]
[processors.audiences]
[processors.consent]
[processors.deletion]
[processors.forward.copy]
url = "{_URL}"
[log]
url = "sqlite:log.db"
[store]
url = "sqlite:state.db"
"""


class Run(Struct, frozen=True):
    """A process that ran for a while: seconds until all of it did, and the largest resident size in MiB."""

    started: float
    peak: float


async def held(quick: bool) -> Row:
    """A million held deliveries in ten thousand lanes, against none."""
    amount = 100_000 if quick else 1_000_000
    listed: list[list[float]] = []
    ran, plain = [], []
    with tempfile.TemporaryDirectory() as temporary:
        none, many = Path(temporary) / "none", Path(temporary) / "many"
        for folder, size in ((none, 0), (many, amount)):
            folder.mkdir()
            (folder / "stream.toml").write_text(_TOML)
            await _fill(folder, size)
        for _ in range(3):
            plain.append(await _run(none))
            ran.append(await _run(many))
            listed.append([await _listed(many, which) for which in _NARROWED])
    goals = (
        Goal("s held list, the slowest", max(map(median, zip(*listed, strict=True))), 1.0, at_most=True),
        Goal("s start-up", median(run.started for run in ran), 5.0, at_most=True),
        Goal(
            "x memory of none", median(run.peak for run in ran) / median(run.peak for run in plain), 1.2, at_most=True
        ),
    )
    figures = {
        **{" ".join(("held list s", *which)): [each[n] for each in listed] for n, which in enumerate(_NARROWED)},
        "start-up s": [run.started for run in ran],
        "start-up with none s": [run.started for run in plain],
        "peak MiB": [run.peak for run in ran],
        "peak with none MiB": [run.peak for run in plain],
    }
    return Row("held", f"{amount:,} held deliveries of {LANES:,} people", "none held", goals, figures)


async def _fill(folder: Path, amount: int) -> None:
    """As if the destination had failed for these people since the beginning: the first of each was tried."""
    settings = config(folder, **forwarding(_URL))
    async with (
        SqliteLog.open(folder / "log.db", partitions=4, clock=time.time),
        Store.open(settings.store.url, settings.identity) as store,
    ):
        for first in range(0, amount, _PAGE):
            page = list(_held(first, min(_PAGE, amount - first), amount))
            await store.db.writing(partial(_hold, store, page, first < LANES), durable=False)


async def _hold(store: Store, page: Sequence[Held], lanes: bool, tx: Transaction) -> None:
    await store.held.add(tx, page)
    for one in page if lanes else ():
        await store.lanes.put(tx, PROCESSOR, _lane(one))


def _held(first: int, amount: int, every: int) -> Iterator[Held]:
    for number, message in enumerate(traffic.messages(traffic.Mix(first), amount), first):
        lane = f"user-{number % LANES}"
        partition = Partition(message.topic, number % LANES % 4)
        yield Held(
            processor=PROCESSOR,
            delivery=Delivery(message, partition, number - every, 1e9),  # passed long ago
            lane=lane,
            subject=f"user:{lane}",
            time=1e9,
            reason="http_500" if number < LANES else "behind",
            state="waiting",
            since=1e9,
        )


def _lane(first: Held) -> Lane:
    due = time.time() + 3_600.0
    return Lane(name=first.lane, partition=first.delivery.partition, attempts=9, due=due, reason="http_500", since=1e9)


async def _listed(folder: Path, which: tuple[str, ...]) -> float:
    """Seconds that the command takes, all of it."""
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", "--config", str(folder / "stream.toml"), "held", "list", *which),
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await process.communicate()
    if process.returncode or PROCESSOR not in shown.decode():
        raise RuntimeError(f"held list {' '.join(which)} failed")
    return time.perf_counter() - begun


async def _run(folder: Path) -> Run:
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.held", str(folder)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    started = time.perf_counter() - begun
    peak, _ = await process.communicate()
    return Run(started, float(peak))


async def _running(folder: Path) -> None:
    async with App.open(config(folder, **forwarding(_URL))) as app:
        task = asyncio.create_task(app.run())
        runner = app.worker.runners[PROCESSOR]
        while not runner.owns_something:
            await asyncio.sleep(0.005)
        print(flush=True)
        await asyncio.wait((task,), timeout=_RUNS_S)  # it counts what is held, looks at what is due
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    print(_peak())


def _peak() -> float:
    """The largest resident size in MiB. On Linux getrusage counts whoever started this process, before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024)


if __name__ == "__main__":
    tune()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_running(Path(sys.argv[1])))
