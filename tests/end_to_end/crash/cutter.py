"""The cutter: runs the scenario through the real app, and ends the process at one suspension point; then another
process goes on with the files as they are. A program of its own, so that it forks without threads:

    python -m tests.end_to_end.crash.cutter FOLDER '{"first": 1, "step": 1}'

prints a line of JSON for each cut, until the scenario has no more points.
"""

import asyncio
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.embedded import Clock
from tests.end_to_end.crash import points
from tests.end_to_end.crash.faults import FAULTS
from tests.end_to_end.crash.hold import Hold
from tests.end_to_end.crash.loop import Loop
from tests.end_to_end.crash.outcome import Outcome, outcome, violations
from tests.end_to_end.crash.points import Place, Point
from tests.end_to_end.crash.scenario import PEOPLE, START, Scenario, running, site

_CUT = 137
_SECOND_POINTS = 250  # among the first of those who go on
_RUN_S = 60  # a run that takes longer hangs
_FILES = ("log.db", "log.db-wal", "state.db", "state.db-wal")


class Orders(Struct, kw_only=True):
    """What to cut: every `step`-th point from the `first` on, or the first point at each of these places."""

    first: int = 1
    step: int = 1
    places: list[str] = []  # names of functions
    fault: str = ""
    twice: bool = False  # the process that goes on is cut, too
    hold: bool = False  # instead of ending it, hold the member while a second one takes over
    until_problem: bool = False  # one is enough


class Report(Struct, kw_only=True):
    """One cut, and what came of it. `point` is empty for a run that came to its end uncut."""

    number: int
    point: str
    problems: list[str]
    last: bool = False  # it came to its end before this number
    skipped: bool = False  # nobody could have taken over there
    places: list[Place] = []  # where it was cut
    seen: list[Place] = []  # by the process that went on


class Run(Struct, kw_only=True):
    """What one process leaves behind for the one that started it."""

    outcome: Outcome | None = None
    problems: list[str] = []
    points: int = 0
    point: str = ""
    places: list[Place] = []
    skipped: bool = False
    seen: list[Place] = []


class Knife:
    """Counts points, and ends the process at one.

    The same place with the same files is the same point, however often it is passed: what a cut leaves is the files,
    and those who only look every now and then do not change them."""

    def __init__(self, folder: Path, number: int = 0, place: str = "") -> None:
        self.points = 0
        self.seen: set[Place] = set()
        self._folder, self._number, self._place = folder, number, place
        self._passed: set[tuple[object, ...]] = set()
        self._files = [str(folder / "data" / name) for name in _FILES]

    def hear(self, point: Point) -> None:
        passed = (*point.places, *map(size, self._files))
        if passed in self._passed:
            return
        self._passed.add(passed)
        self.seen.update(point.places)
        self.points += 1
        if self.points == self._number or (self._place and any(p.name == self._place for p in point.places)):
            self.leave(Run(point=_named(point), places=list(point.places), points=self.points))
            os._exit(_CUT)  # no finally runs, nothing is closed

    def leave(self, run: Run) -> None:
        """Keeps what this process found, for the one that started it."""
        run.seen = sorted(self.seen)
        (self._folder / "run").write_bytes(msgspec.msgpack.encode(run))


def size(file: str) -> int:
    """In bytes; -1 if there is no such file."""
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return -1


def forked(folder: Path, work: Callable[[], None]) -> Run:
    """What the work left in the folder; it is done by a process of its own, which may end at any moment."""
    (folder / "run").unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _be_child(folder, work)
    _, status = os.waitpid(child, 0)
    said = (folder / "said").read_text()
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, _CUT) or said:
        return Run(problems=[f"ended with {code}, saying: {said[-3_000:]}"])
    return msgspec.msgpack.decode((folder / "run").read_bytes(), type=Run)


def _be_child(folder: Path, work: Callable[[], None]) -> None:
    code = 1
    try:
        said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        signal.alarm(_RUN_S)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def play(folder: Path, knife: Knife, fault: str = "", hold: "Hold | None" = None) -> None:
    """Runs the app and the scenario's client, from where the files in the folder are, to the end."""
    if fault:
        FAULTS[fault]()

    def loop() -> Loop:
        loop = Loop(threads=hold is not None)
        points.watch(loop, knife.hear if hold is None else hold.hear, "client")
        return loop

    with asyncio.Runner(loop_factory=loop) as runner:
        run = runner.run(_client_main(folder, hold))
    run.points = knife.points if hold is None else hold.points
    knife.leave(run)


async def _client_main(folder: Path, hold: Hold | None) -> Run:
    config, clock = site(folder), Clock(START)
    async with running(config, clock) as (app, url):
        scenario = Scenario(folder, app, clock, url, retries=hold is None)
        if hold is not None:
            hold.begin(app)
        await scenario.client_steps()
        log, store = app.around.log, app.around.store
        if hold is not None:
            await hold.client_end()
        acked = [name for step in scenario.done() for name in step.split("+") if step[1] == "-"]
        return Run(
            outcome=await outcome(log, store, PEOPLE),
            problems=await violations(log, store, app.worker.projections, acked),
            point=hold.held if hold else "",
            skipped=hold is not None and hold.skipped,
        )


def uncut(folder: Path, hold: bool = False) -> Run:
    """The scenario from its beginning to its end."""
    site(folder)
    run = forked(folder, lambda: play(folder, Knife(folder), hold=Hold(0) if hold else None))
    shutil.rmtree(folder)
    return run


def cut(base: Path, orders: Orders) -> Iterator[Report]:
    """Cuts as ordered, each in a folder of its own below `base`."""
    whole = uncut(base / f"uncut-{orders.first}", orders.hold)
    if whole.outcome is None or whole.problems:
        yield Report(number=0, point="uncut", problems=whole.problems, last=True)
        return
    for number, place in _numbers(orders):
        report = _cut(base / (place or str(number)), whole.outcome, orders, number, place)
        yield report
        if report.last or (orders.until_problem and report.problems):
            return


def _numbers(orders: Orders) -> Iterator[tuple[int, str]]:
    if orders.places:
        yield from ((0, place) for place in orders.places)
    else:
        yield from ((number, "") for number in count(orders.first, orders.step))


def _cut(folder: Path, expected: Outcome, orders: Orders, number: int, place: str) -> Report:
    site(folder)
    problems: list[str] = []
    if orders.hold:
        first = last = forked(folder, lambda: play(folder, Knife(folder), orders.fault, Hold(number)))
    else:
        first = forked(folder, lambda: play(folder, Knife(folder, number, place), orders.fault))
        if orders.twice:
            second = 1 + number * 37 % _SECOND_POINTS
            problems += forked(folder, lambda: play(folder, Knife(folder, second), orders.fault)).problems
        last = forked(folder, lambda: play(folder, Knife(folder), orders.fault)) if first.point else first
    shutil.rmtree(folder)
    problems += [*first.problems, *(last.problems if last is not first else ())]
    return Report(
        number=number,
        point=first.point,
        problems=problems + (last.outcome.differences(expected) if last.outcome is not None else []),
        last=0 < first.points < number,
        skipped=first.skipped,
        places=first.places,
        seen=last.seen,
    )


def _named(point: Point) -> str:
    return f"{point.task}: {' > '.join(map(str, point.places))}"


def main() -> None:
    base, orders = Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Orders)
    for report in cut(base, orders):
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
