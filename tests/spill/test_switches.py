"""Whatever the order in which the log goes away and comes back, processes end and start: nothing that was acknowledged
is lost, and of each key it comes in the order in which it was sent, by somebody who waited for each answer."""

import asyncio
import contextlib
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.errors import LogError
from stream.log.spill import Spill
from tests.spill.away import TRACK, Away, Place, direct, message, numbers

KEYS = "abc"
STEP = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 30)),
    st.tuples(st.just("answered"), st.just(True)),
    st.tuples(st.just("mode"), st.sampled_from(["", "", "before", "after", "full"])),
    st.tuples(st.just("gate"), st.booleans()),
    st.tuples(st.just("spin"), st.integers(1, 12)),
    st.tuples(st.just("rest"), st.sampled_from([1, 3, 10, 20])),
    st.tuples(st.just("restart"), st.booleans()),
)


class Senders:
    """One for each key, who sends the next number once the last one was answered."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, list[int]] = {key: [] for key in KEYS}
        self._next = dict.fromkeys(KEYS, 0)
        self._last: dict[str, asyncio.Task[None]] = {}
        self._every: list[asyncio.Task[None]] = []

    def send(self, key: str, spill: Spill) -> None:
        number = self._next[key]
        self._next[key] += 1
        self._last[key] = asyncio.create_task(self._send(key, number, self._last.get(key), spill))
        self._every.append(self._last[key])

    async def leave(self, patience: bool) -> None:
        """Everybody is answered, or hangs up."""
        for task in self._every:
            if not patience:
                task.cancel()
        await asyncio.gather(*self._every, return_exceptions=True)
        self._last.clear()
        self._every.clear()

    async def _send(self, key: str, number: int, before: "asyncio.Task[None] | None", spill: Spill) -> None:
        if before is not None:
            await before
        with contextlib.suppress(LogError):  # not acknowledged
            await spill.append([message(key, number)])
            self.acknowledged[key].append(number)


class System:
    """A log that may be away, and the receiver that is running now."""

    def __init__(self, place: Place, log: Away) -> None:
        self.senders = Senders()
        self._place, self._log = place, log
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        self.spill: Spill = await self._stack.enter_async_context(self._place.spill(self._log))

    async def take(self, step: tuple[str, object]) -> None:
        match step:
            case "send", int(number):
                for each in range(number):
                    self.senders.send(KEYS[each % len(KEYS)], self.spill)
            case "answered", _:
                self._log.gate.set()
                await self.senders.leave(True)
            case "mode", str(mode):
                self._log.mode = mode
            case "gate", bool(is_open):
                (self._log.gate.set if is_open else self._log.gate.clear)()
            case "spin", int(rounds):
                for _ in range(rounds):
                    await asyncio.sleep(0)
            case "rest", int(milliseconds):
                await asyncio.sleep(milliseconds / 1000)
            case "restart", bool(patience):
                await self.stop(patience)
                await self.start()

    async def stop(self, patience: bool) -> None:
        if patience:
            self._log.gate.set()
        await self.senders.leave(patience)
        await self._stack.aclose()

    async def settle(self) -> None:
        self._log.mode = ""
        self._log.gate.set()
        await self.senders.leave(True)
        await direct(self.spill)
        await self._stack.aclose()


async def played(steps: list[tuple[str, object]], folder: Path) -> None:
    place = Place(folder)
    async with place.log() as log:
        system = System(place, log)
        await system.start()
        for step in steps:
            await system.take(step)
        await system.settle()
        found = await numbers(log, [TRACK])
    for key, acknowledged in system.senders.acknowledged.items():
        came = [number for number in found.get((TRACK, key), []) if number in acknowledged]
        assert came == acknowledged, key


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=10, max_size=40))
def test_nothing_acknowledged_is_lost_or_overtaken(steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(played(steps, Path(folder)))
