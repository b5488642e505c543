"""Knife: counts the points that one process passes, and ends the process at one of them."""

import os
from collections import Counter
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.end_to_end.crash.outcome import Outcome
from tests.end_to_end.crash.points import Place, Point

CUT = 137  # the exit code of a process that was cut
_FILES = ("data/log.db-wal", "data/state.db-wal")  # a checkpoint moves into the others what is there already
_LEFT = (*_FILES, "done", "asked")  # what else outlives a process: what the client did, and the destination


class Target(Struct, frozen=True):
    """The n-th time that a task suspends on these places. Another run passes its points in another order, but passes
    most of them; so it takes more than a number to cut at each."""

    places: tuple[Place, ...]
    time: int


class First(Struct, frozen=True):
    """Where the files were first as they are, and which places were passed for the first time then: a cut at any of
    these leaves the same."""

    target: Target
    places: list[Place]


class Run(Struct, kw_only=True):
    """What one process leaves behind for the one that started it."""

    outcome: Outcome | None = None
    problems: list[str] = []
    points: int = 0
    passed: list[Target] = []
    places_once: list[First] = []
    states_once: list[Target] = []
    point: str = ""
    places: list[Place] = []
    skipped: bool = False
    seen: list[Place] = []


class Knife:
    """Counts points, and ends the process at one.

    The same place with the same files is the same point, however often it is passed: what a cut leaves is the files,
    and those who only look every now and then do not change them. Of all it counts, these are enough: each state of
    what is left in which some place was passed for the first time, and each state at all."""

    def __init__(self, folder: Path, number: int = 0, place: str = "", target: Target | None = None) -> None:
        self.points = 0
        self.times: Counter[tuple[Place, ...]] = Counter()
        self.seen: set[Place] = set()
        self.folder, self._number, self._place, self._target = folder, number, place, target
        self._collects = False
        self._passed: set[tuple[object, ...]] = set()
        self._states: dict[tuple[int, ...], Target] = {}  # what a cut would leave, and where that came first
        self._met: set[tuple[Place, ...]] = set()
        self._firsts: dict[tuple[int, ...], tuple[Target, set[Place]]] = {}
        self._files = [str(folder / name) for name in _FILES]
        self._left = [str(folder / name) for name in _LEFT]

    @classmethod
    def collecting(cls, folder: Path) -> "Knife":
        """One that cuts nothing, and finds out which points are enough."""
        knife = cls(folder)
        knife._collects = True
        return knife

    def hear(self, point: Point) -> None:
        passed = (*point.places, *map(size, self._files))
        if passed in self._passed:
            return
        self._passed.add(passed)
        self.seen.update(point.places)
        self.points += 1
        self.times[point.places] += 1
        if self._collects:
            self._collect(point)
        if self._is_due(point):
            self.leave(Run(point=_named(point), places=list(point.places), points=self.points))
            os._exit(CUT)  # no finally runs, nothing is closed

    def _collect(self, point: Point) -> None:
        here = Target(point.places, self.times[point.places])
        state = tuple(map(size, self._left))
        self._states.setdefault(state, here)
        if point.places not in self._met:
            self._met.add(point.places)
            self._firsts.setdefault(state, (here, set()))[1].update(point.places)

    def _is_due(self, point: Point) -> bool:
        if self._target is not None:
            return (point.places, self.times[point.places]) == (self._target.places, self._target.time)
        return self.points == self._number or any(p.name == self._place for p in point.places)

    def leave(self, run: Run) -> None:
        """Keeps what this process found, for the one that started it."""
        run.seen = sorted(self.seen)
        run.passed = [Target(places, n + 1) for places, times in self.times.items() for n in range(times)]
        run.places_once = [First(target, sorted(places)) for target, places in self._firsts.values()]
        run.states_once = list(self._states.values())
        (self.folder / "run").write_bytes(msgspec.msgpack.encode(run))


def size(file: str) -> int:
    """In bytes; -1 if there is no such file."""
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return -1


def _named(point: Point) -> str:
    return f"{point.task}: {' > '.join(map(str, point.places))}"
