"""Whatever happens to deliveries and members: order within each lane, one at a time, one fate each, nothing lost."""

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.errors import Stopped
from tests.embedded import Clock
from tests.engine.acting import Acting, Moody, acting, acting_beside, number_of, surroundings

MOODS = st.lists(
    st.sampled_from(["ok", "idle", "skip", "retry", "retry", "late", "notyet", "dead", "bug"]), min_size=1, max_size=4
)
HISTORY = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.tuples(st.sampled_from("abcdefghij"), MOODS), min_size=1, max_size=12)),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.3, 2.0, 40.0])),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("beside"), st.none()),
        st.tuples(st.just("yield"), st.integers(0, 3)),
    ),
    min_size=2,
    max_size=14,
)


class Watched(Moody):
    """Ends every delivery well in the end, or for good; sees what came before what."""

    def __init__(self, history: "History", **config) -> None:
        super().__init__(**config)
        self.moods = history.moods
        self._history = history
        self._busy: set[str] = set()

    async def act(self, deliveries, slow):
        lanes, numbers = self.lane(deliveries[-1]), [number_of(delivery) for delivery in deliveries]
        assert lanes not in self._busy, "two of one lane at once"
        self._busy.add(lanes)
        try:
            for _ in range(self._history.yields):
                await asyncio.sleep(0)
            return await super().act(deliveries, slow)
        finally:
            self._busy.discard(lanes)
            self._history.tried.append((lanes, numbers[-1]))


class History:
    def __init__(self, folder: Path, joins: bool, behind_dead: bool) -> None:
        self.folder, self.clock = folder, Clock()
        self.moods: dict[int, list[str]] = {}
        self.lane: dict[int, str] = {}
        self.tried: list[tuple[str, int]] = []
        self.yields = 0
        self._config = {"joins": joins, "wait_behind_dead": behind_dead, "patience_s": 1.0, "window": 20}

    async def live(self, steps) -> None:
        steps = list(steps)
        while steps:
            async with acting(self.folder, Watched(self, **self._config), self.clock, 4) as one:
                while steps:
                    what, how = steps.pop(0)
                    if what == "restart":
                        break
                    await self._step(one, what, how)

    async def _step(self, one: Acting, what: str, how) -> None:
        match what:
            case "send":
                for lane, moods in how:
                    await self._send(one, lane, moods)
                await self._tried(one.step())
            case "pass":
                await self._send(one, "well", ["ok"])  # so that the breaker can tell: it works for others
                await self._tried(one.pass_time(how))
            case "yield":
                self.yields = how
            case "beside":  # another member comes, takes over some partitions, and goes
                async with acting_beside(one.around, Watched(self, **self._config)) as other:
                    await self._tried(asyncio.gather(one.step(), other.step()))
                for _ in range(10):
                    await asyncio.sleep(0)

    async def _send(self, one: Acting, lane: str, moods: list[str]) -> None:
        number = len(self.lane)
        self.lane[number], self.moods[number] = lane, list(moods)
        await one.send(lane, first=number)

    async def _tried(self, step) -> None:
        try:
            await step
        except Stopped:
            pytest.fail("too few die for that")

    async def end(self) -> Acting:
        """Everything gets on now, to the end."""
        for moods in self.moods.values():
            moods[:] = [moods[-1] if moods[-1] in ("skip", "dead", "idle") else "ok"]
        async with acting(self.folder, Watched(self, **self._config), self.clock, 4) as one:
            for _ in range(60):
                await one.pass_time(1_000.0)
            return one


@given(HISTORY, st.booleans(), st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.slow
def test_any_history_keeps_order_and_ends_each_delivery_once(steps, joins, behind_dead):
    asyncio.run(_lived(steps, joins, behind_dead))


async def _lived(steps, joins: bool, behind_dead: bool) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        history = History(folder, joins, behind_dead)
        well = ("send", [(f"well{n}", ["ok"]) for n in range(8)])
        async with acting(folder, Moody(), history.clock, 4):
            pass  # from here on it reads: a new one starts at the end
        await history.live([well, *steps])
        await history.end()
        async with surroundings(folder, history.clock, 4) as around:
            await _check(history, around.store, joins, behind_dead)
    finally:
        shutil.rmtree(folder)


async def _check(history: History, store, joins: bool, behind_dead: bool) -> None:
    fates = (await store.positions.fates()).get("moody", {})
    left = Counter({fate: n for fate, n in fates.items() if fate.startswith("left:")})
    assert sum(fates.values()) - left.total() == len(history.lane), fates
    held = await store.held.page()
    # What left held before the position passed it is fetched anew by the next member: it has left, and ends once more.
    assert fates.get("held", 0) - left.total() <= len(held), (fates, held)
    blocked = {one.lane for one in held if one.state == "dead"} if behind_dead else set()
    assert [one for one in held if one.state == "waiting" and one.lane not in blocked] == []
    assert len({(one.delivery.partition, one.delivery.offset) for one in held}) == len(held)
    await _check_order(history, {number_of(one.delivery) for one in held}, joins)


async def _check_order(history: History, held: set[int], joins: bool) -> None:
    first: dict[str, list[int]] = {}
    for lane, number in history.tried:
        seen = first.setdefault(lane, [])
        if number not in seen:
            seen.append(number)
    for lane, seen in first.items():  # where they join, a restart may find fewer of them that wait together
        assert joins or seen == sorted(seen), f"{lane} was overtaken: {seen}"
    tried = {number for _, number in history.tried}
    if not joins:
        assert set(history.lane) <= tried | held, "lost"
    final = dict(history.tried)  # of each lane the last
    for lane in set(history.lane.values()):
        last = max(number for number, of in history.lane.items() if of == lane)
        assert last in tried | held, "the last of a lane was lost"
        assert not joins or final[lane] == last or last in held, "somebody looked only before the last change"
