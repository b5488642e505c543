"""Knife: counts the points that one process passes, and ends the process at one of them."""

import os
from collections import Counter
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.end_to_end.crash.outcome import Outcome
from tests.end_to_end.crash.points import Place, Point

CUT = 137  # the exit code of a process that was cut
_FILES = ("log.db", "log.db-wal", "state.db", "state.db-wal")


class Target(Struct, frozen=True):
    """The n-th time that a task suspends on these places. Another run passes its points in another order, but passes
    most of them; so it takes more than a number to cut at each."""

    places: tuple[Place, ...]
    time: int


class Run(Struct, kw_only=True):
    """What one process leaves behind for the one that started it."""

    outcome: Outcome | None = None
    problems: list[str] = []
    points: int = 0
    passed: list[Target] = []
    point: str = ""
    places: list[Place] = []
    skipped: bool = False
    seen: list[Place] = []


class Knife:
    """Counts points, and ends the process at one.

    The same place with the same files is the same point, however often it is passed: what a cut leaves is the files,
    and those who only look every now and then do not change them."""

    def __init__(self, folder: Path, number: int = 0, place: str = "", target: Target | None = None) -> None:
        self.points = 0
        self.times: Counter[tuple[Place, ...]] = Counter()
        self.seen: set[Place] = set()
        self.folder, self._number, self._place, self._target = folder, number, place, target
        self._passed: set[tuple[object, ...]] = set()
        self._files = [str(folder / "data" / name) for name in _FILES]

    def hear(self, point: Point) -> None:
        passed = (*point.places, *map(size, self._files))
        if passed in self._passed:
            return
        self._passed.add(passed)
        self.seen.update(point.places)
        self.points += 1
        self.times[point.places] += 1
        if self._is_due(point):
            self.leave(Run(point=_named(point), places=list(point.places), points=self.points))
            os._exit(CUT)  # no finally runs, nothing is closed

    def _is_due(self, point: Point) -> bool:
        if self._target is not None:
            return (point.places, self.times[point.places]) == (self._target.places, self._target.time)
        return self.points == self._number or any(p.name == self._place for p in point.places)

    def leave(self, run: Run) -> None:
        """Keeps what this process found, for the one that started it."""
        run.seen = sorted(self.seen)
        run.passed = [Target(places, n + 1) for places, times in self.times.items() for n in range(times)]
        (self.folder / "run").write_bytes(msgspec.msgpack.encode(run))


def size(file: str) -> int:
    """In bytes; -1 if there is no such file."""
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return -1


def _named(point: Point) -> str:
    return f"{point.task}: {' > '.join(map(str, point.places))}"
