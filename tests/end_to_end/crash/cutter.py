"""The cutter: runs the scenario through the real app, and ends the process at one suspension point; then another
process goes on with the files as they are. A program of its own, so that it forks without threads:

    python -m tests.end_to_end.crash.cutter FOLDER

follows FOLDER/orders, JSON like {"first": 1, "step": 10}, and prints a line of JSON for each cut.
"""

import asyncio
import gc
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.end_to_end.crash import acting, points
from tests.end_to_end.crash.acted import acted, remember_what_is_not, wrongs
from tests.end_to_end.crash.faults import FAULTS
from tests.end_to_end.crash.hold import Hold
from tests.end_to_end.crash.knife import CUT, Knife, Run, Target
from tests.end_to_end.crash.loop import Loop, skip_for_runners, take_apart
from tests.end_to_end.crash.outcome import Outcome, outcome, timeless, violations
from tests.end_to_end.crash.points import Place
from tests.end_to_end.crash.recorded import Record, Recorded
from tests.end_to_end.crash.scenario import PEOPLE, Scenario
from tests.end_to_end.crash.steps import SITE, clock_of, done, put, running, site

_SECOND_POINTS = 250  # among the first of those who go on
_RUN_S = 120  # a run that takes longer hangs


class Orders(Struct, kw_only=True):
    """What to cut: every `step`-th point from the `first` on, or each of the targets, or the first point in each of the
    functions in `places`."""

    first: int = 1
    step: int = 1
    targets: list[Target] = []
    places: list[str] = []
    fault: str = ""
    twice: bool = False  # the process that goes on is cut, too
    hold: bool = False  # instead of ending it, hold the member while a second one takes over
    until_problem: bool = False  # one is enough
    acting: bool = False  # the history with a destination


class Report(Struct, kw_only=True):
    """One cut, and what came of it. `point` is empty for a run that came to its end uncut."""

    number: int
    point: str
    problems: list[str]
    last: bool = False  # it came to its end before this number
    skipped: bool = False  # nobody could have taken over there
    places: list[Place] = []  # where it was cut
    seen: list[Place] = []  # by the process that went on


def forked(folder: Path, work: Callable[[], None]) -> Run:
    """What the work left in the folder; it is done by a process of its own, which may end at any moment."""
    (folder / "run").unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _be_child(folder, work)
    _, status = os.waitpid(child, 0)
    said = (folder / "said").read_text()
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, CUT) or said:
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


class Play(Struct, kw_only=True):
    """One process: the app, and the client of a history."""

    folder: Path
    knife: Knife
    acting: bool = False
    fault: str = ""
    hold: Hold | None = None

    def run(self) -> None:
        """From where the files in the folder are, to the end."""
        if self.fault:
            FAULTS[self.fault]()
        if self.hold is None:
            take_apart()
        if self.acting:
            skip_for_runners()
        hear = self.knife if self.hold is None else self.hold

        def loop() -> Loop:
            loop = Loop(threads=self.hold is not None)
            points.watch(loop, hear.hear, "client")
            return loop

        with asyncio.Runner(loop_factory=loop) as runner:
            run = runner.run(self._client_acting() if self.acting else self._client_main())
        run.points = hear.points
        self.knife.leave(run)

    async def _client_main(self) -> Run:
        folder, hold = self.folder, self.hold
        config, clock = site(folder), clock_of(folder)
        async with running(config, clock) as (app, url):
            scenario = Scenario(folder, app, clock, url, retries=hold is None)
            if hold is not None:
                hold.begin(app)
            await scenario.client_steps()
            log, store = app.around.log, app.around.store
            if hold is not None:
                await hold.client_end()
            return Run(
                outcome=await outcome(log, store, PEOPLE),
                problems=await violations(log, store, app.worker.projections, scenario.acknowledged),
                point=hold.held if hold else "",
                skipped=hold is not None and hold.skipped,
            )

    async def _client_acting(self) -> Run:
        folder = self.folder
        remember_what_is_not(folder)
        random.seed(1)
        async with Recorded.of(folder, lambda: done(folder)) as destination:
            os.environ["CRM"] = destination.url
            config, clock = site(folder, acting.SITE), clock_of(folder)
            async with running(config, clock) as (app, url):
                client = acting.Acting(folder, app, clock, url, destination)
                await client.client_steps()
                log, store, worker = app.around.log, app.around.store, app.worker
                found = timeless(await outcome(log, store, acting.PEOPLE))
                found.acted = await acted(store, Record(folder))
                problems = await violations(log, store, worker.projections, client.acknowledged)
                problems += await wrongs(log, store, list(worker.runners.values()), folder)
                return Run(outcome=found, problems=problems)


def uncut(folder: Path, hold: bool = False, acts: bool = False) -> Run:
    """A history from its beginning to its end."""
    put(folder, acting.SITE if acts else SITE)
    play = Play(folder=folder, knife=Knife.collecting(folder), acting=acts, hold=Hold(0) if hold else None)
    run = forked(folder, play.run)
    shutil.rmtree(folder)
    return run


def cut(base: Path, orders: Orders) -> Iterator[Report]:
    """Cuts as ordered, each in a folder of its own below `base`."""
    whole = uncut(base / f"uncut-{orders.first}", orders.hold, orders.acting)
    if whole.outcome is None or whole.problems:
        yield Report(number=0, point="uncut", problems=whole.problems, last=True)
        return
    for number, place, target in _numbers(orders):
        folder = base / (place or str(number))
        report = _cut(whole.outcome, orders, number, Knife(folder, 0 if target else number, place, target))
        yield report
        if report.last or (orders.until_problem and report.problems):
            return


def _numbers(orders: Orders) -> Iterator[tuple[int, str, Target | None]]:
    if orders.places:
        yield from ((0, place, None) for place in orders.places)
    elif orders.targets:
        yield from ((number, "", target) for number, target in enumerate(orders.targets))
    else:
        yield from ((number, "", None) for number in count(orders.first, orders.step))


def _cut(expected: Outcome, orders: Orders, number: int, knife: Knife) -> Report:
    put(folder := knife.folder, acting.SITE if orders.acting else SITE)
    problems: list[str] = []

    def played(knife: Knife, hold: Hold | None = None) -> Run:
        return forked(folder, Play(folder=folder, knife=knife, acting=orders.acting, fault=orders.fault, hold=hold).run)

    if orders.hold:
        first = last = played(Knife(folder), Hold(number))
    else:
        first = played(knife)
        if orders.twice:
            problems += played(Knife(folder, 1 + number * 37 % _SECOND_POINTS)).problems
        last = played(Knife(folder)) if first.point else first
    shutil.rmtree(folder)
    problems += [*first.problems, *(last.problems if last is not first else ())]
    return Report(
        number=number,
        point=first.point,
        problems=problems + (last.outcome.differences(expected) if last.outcome is not None else []),
        last=not orders.targets and 0 < first.points < number,
        skipped=first.skipped,
        places=first.places,
        seen=last.seen,
    )


def main() -> None:
    base = Path(sys.argv[1])
    orders = msgspec.json.decode((base / "orders").read_bytes(), type=Orders)
    gc.freeze()  # what is imported by now is nobody's garbage: a child need not walk, and copy, it
    for report in cut(base, orders):
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
