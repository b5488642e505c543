"""While the consent projection is stopped, frozen, or merely slow, nobody is given anything, and what takes away goes
out; once it is back, whoever allows it is given what waited."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stream.log import Cursor
from tests.brokers.parts import Parts
from tests.destination import Destination
from tests.end_to_end.destinations.inside import Ahead, Inside, inside
from tests.end_to_end.destinations.people import bought, come, member, opted, who
from tests.end_to_end.destinations.site import Site, crm, forward

pytestmark = pytest.mark.slow

ON, OUT, ALLOWS = "is-on-it", "opts-out", "allows-it"
OTHERS = [who(number) for number in range(30)]
MAX_LAG_S = 60.0
PREFERENCES_UPDATED = "Segment Consent Preference Updated"  # one without a map dies


class Trouble:
    """What happens to the projection: it does not move at all, and does not know it."""

    def __init__(self, process: Inside, clock: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
        self.process, self.clock, self.monkeypatch = process, clock, monkeypatch
        self.stalled, self.turns = asyncio.Event(), asyncio.Semaphore(0)

    async def begin(self) -> None:
        """Returns once it is as bad as it gets."""
        projector = self.process.app.worker.projectors["consent"]
        step = projector.step

        async def stepped(cursor: Cursor) -> int:
            self.stalled.set()
            await self.turns.acquire()
            return await step(cursor)

        self.monkeypatch.setattr(projector, "step", stepped)
        await self.stalled.wait()
        await self.clock.passes(2 * MAX_LAG_S, MAX_LAG_S / 4)

    async def end(self) -> None:
        """It is over."""
        for _ in range(1_000):
            self.turns.release()


class Slow(Trouble):
    """It moves, from one to the next, and is never as far as it should be."""

    async def begin(self) -> None:
        self.monkeypatch.setattr("stream.projector.BATCH", 1)
        await super().begin()
        await self.process.post(*(opted(user, True) for user in OTHERS))
        for _ in range(len(OTHERS) // 2):
            self.turns.release()
            await self.clock.passes(MAX_LAG_S / 4, MAX_LAG_S / 4)


class Stopped(Trouble):
    """Most of its deliveries die."""

    async def begin(self) -> None:
        await self.process.post(*({**bought(user, 0), "event": PREFERENCES_UPDATED} for user in OTHERS))
        await self.clock.until(lambda: "consent" in self.process.app.worker.stopped)

    async def end(self) -> None:
        await self.process.app.around.store.requests.ask("resume", {"processor": "consent"}, "test", self.clock())


@pytest.mark.parametrize("kind", [Trouble, Slow, Stopped], ids=["frozen", "slow", "stopped"])
async def test_nothing_is_given_until_the_consent_projection_is_back(
    tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch, kind: type[Trouble]
) -> None:
    clock = Ahead()
    async with Destination.open() as lists, Destination.open() as events:
        site = Site(tmp_path, parts, **_sections(lists, events))
        async with inside(site.config, clock) as process:
            await site.ready()
            await process.post(come(ON), member(ON, True), come(OUT), come(ALLOWS))
            await lists.until(lambda: lists.has("vip", ON))
            trouble = kind(process, clock, monkeypatch)
            await trouble.begin()
            await process.post(opted(OUT, True), member(OUT, True), member(ALLOWS, True), member(ON, False))
            await process.post(bought(OUT, 1), bought(ALLOWS, 1))
            await lists.until(lambda: not lists.has("vip", ON))
            await clock.passes(20.0, 2.0)  # whoever waits for the gate asks again
            assert {user for one in (*lists.seen, *events.seen) for user in one.about} == {ON}
            await trouble.end()
            await clock.until(lambda: lists.has("vip", ALLOWS) and events.events, step=1.0)
            await clock.passes(10.0, 1.0)
            await site.settled()
        assert not lists.asked("PUT", OUT) and not events.asked(about=OUT)
        assert (await site.fates())["forward.all"]["skipped:opted_out"] == 1


def _sections(lists: Destination, events: Destination) -> dict[str, Any]:
    return {
        "gate": {"max_lag_s": MAX_LAG_S},
        "purposes": {"marketing": {"channels": ["email"], "unknown": "allow"}},
        "connectors": {"crm": crm(lists.port)},
        "processors": {
            "profiles": {},
            "consent": {},
            "deletion": {},
            "audiences": {"destinations": ["crm"]},
            "forward": {"all": forward(events.url, purpose="marketing")},
        },
    }
