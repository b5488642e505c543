"""Projections, from the log to committed rows, against plain loops over the same log. See docs/operating.md."""

import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from prometheus_client import CollectorRegistry

from benchmarks import plain, traffic
from benchmarks.served import config
from benchmarks.table import Goal, Row, ratio
from stream import topics
from stream.batch import Surroundings
from stream.building import build
from stream.events import Event
from stream.log import Log
from stream.log.sqlite import SqliteLog
from stream.processor import Projection
from stream.projector import BATCH, Projector
from stream.publisher import Publisher
from stream.store import Store
from stream.telemetry import Metrics
from stream.turns import Turns


class Nothing(Projection):
    """A projection that does nothing."""

    name = "nothing"
    topics = ("track",)

    def handle(self, event: Event) -> None:
        pass


class _Course(Struct, frozen=True):
    """How much is dealt with before the clock starts, and while it runs."""

    before: int
    timed: int
    rounds: int


async def nothing(quick: bool) -> Row:
    """A projection that does nothing."""
    ours, loop = await _compare(lambda log: Nothing(), traffic.Mix(), _course(quick), lambda _: plain.route)
    goals = (Goal("of its events/s", ratio(ours, loop), 0.5),)
    return row(
        "nothing", "a projection that does nothing", "read, decode routing fields, save position", goals, ours, loop
    )


async def profiles(quick: bool) -> Row:
    """Profiles of tracks: nothing is published."""
    ours, loop = await _compare(_profiles, traffic.Mix(), _course(quick), _fold)
    goals = (
        Goal("of its events/s", ratio(ours, loop), 0.3),
        Goal("events/s here", statistics.median(ours), 30_000),
    )
    return row("profiles", "profiles to SQLite, nothing published", _FOLD, goals, ours, loop)


async def publishing(quick: bool) -> Row:
    """Profiles, where one event in five changes a trait, and so is published."""
    ours, loop = await _compare(_profiles, traffic.Mix(identifies=0.2), _course(quick), _fold)
    goals = (Goal("of its events/s", ratio(ours, loop), 0.2),)
    return row("publishing", "the same, one event in five an identify that publishes", _FOLD, goals, ours, loop)


async def linked(quick: bool) -> Row:
    """Profiles of tracks that name both ids, as a browser's do."""
    ours, loop = await _compare(_profiles, traffic.Mix(linked=True), _course(quick), _fold)
    goals = (Goal("of its events/s", ratio(ours, loop), 0.2),)
    return row("linked", "the same, each event with its anonymous id too", _FOLD, goals, ours, loop)


def row(name: str, work: str, against: str, goals: tuple[Goal, ...], ours: list[float], loop: list[float]) -> Row:
    """Events per second of ours and of the plain loop, round by round."""
    return Row(name, work, against, goals, {"events/s": ours, "plain events/s": loop})


def _course(quick: bool) -> _Course:
    return _Course(20_000, 20_000, 3) if quick else _Course(40_000, 40_000, 7)


def _profiles(folder: Path) -> Projection:
    return build(config(folder)).some(["profiles"]).projections[0]


def _fold(loop: plain.Loop) -> plain.Deal:
    return plain.Fold(loop.state)


async def _compare(
    build: Callable[[Path], Projection], mix: traffic.Mix, course: _Course, deal: Callable[[plain.Loop], plain.Deal]
) -> tuple[list[float], list[float]]:
    """Events per second of ours and of the plain loop, in turn, each round from empty state; the first warms."""
    ours, loop = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        projection = build(folder)
        async with SqliteLog.open(folder / "log.db", partitions=4, clock=time.time) as log:
            await _fill(log, mix, course.before + course.timed + BATCH)
            for number in range(course.rounds + 1):
                state = folder / f"{number}-plain.db"
                loop.append(_looped(plain.Loop(folder / "log.db", state, _read(projection)), course, deal))
                ours.append(await _projected(log, projection, folder / f"{number}-ours.db", course))
    return ours[1:], loop[1:]


async def _fill(log: Log, mix: traffic.Mix, count: int) -> None:
    for first in range(mix.first, mix.first + count, 1_000):
        await log.append(list(traffic.messages(traffic.Mix(first, mix.identifies, mix.linked, mix.seed), 1_000)))


def _read(projection: Projection) -> list[str]:
    return [topics.RAW[kind] for kind in projection.topics]


def _looped(loop: plain.Loop, course: _Course, deal: Callable[[plain.Loop], plain.Deal]) -> float:
    with contextlib.closing(loop):
        dealing = deal(loop)
        loop.run(dealing, course.before)
        begun = time.perf_counter()
        return loop.run(dealing, course.timed) / (time.perf_counter() - begun)


async def _projected(log: Log, projection: Projection, state: Path, course: _Course) -> float:
    async with _stepping(log, projection, state) as step:
        done = 0
        while done < course.before:
            done += await step()
        begun, at = time.perf_counter(), done
        while done < course.before + course.timed:
            done += await step()
        return (done - at) / (time.perf_counter() - begun)


@contextlib.asynccontextmanager
async def _stepping(log: Log, projection: Projection, state: Path) -> AsyncIterator[Callable[[], Any]]:
    settings = config(state.parent)
    async with Store.open(f"sqlite:{state}", settings.identity) as store:
        around = Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), time.time)
        projector = Projector(projection, around, Publisher(projection.name, around, False))
        async with projector.joined() as cursor:
            yield lambda: projector.step(cursor)


_ROUTE = "read, decode routing fields, save position"
_FOLD = "read, decode, fold by user, one upsert a batch, save position"
