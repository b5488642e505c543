"""Waiting: one run of the real process in which sends wait, each for another reason, while the people whom they are
about opt out or are deleted."""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.brokers.parts import Parts
from tests.destination import Answer, Destination
from tests.end_to_end.destinations.people import bought, come, member, opted, who
from tests.end_to_end.destinations.site import QUICK, Process, Site, crm, forward
from tests.mailing_list import Seen

OUT, GONE, BACK = "opts-out", "is-deleted", "comes-back"
HEALTHY = [who(number) for number in range(15)]
"""Before them: they take several times as long behind the rate limit as the others need until they are held."""
PARTITIONS = 1  # everybody's turn comes in the order in which they were posted
PLACES = {
    "memory": ({**QUICK, "patience_s": 600.0}, {}),
    "held": (QUICK, {}),
    "rate": (QUICK, {"rates": ["1/s"]}),
}
"""Where a send waits: with these settings of its lane, and these limits of its destination."""
_FAILS = Answer(status=500, effect="before")


class Waited(Struct, frozen=True):
    """What was asked of the destinations, by place; `known_at`: when the opt-out and the deletion were in the store."""

    lists: dict[str, Destination]
    events: dict[str, Destination]
    known_at: float
    held: set[tuple[str, str]]
    """Processor and lane of what was held right before."""
    fates: dict[str, dict[str, int]]
    wrong_fates: list[str]

    def after(self, place: str, user: str) -> list[Seen]:
        """What was asked about somebody once that was known."""
        asked = self.lists[place].asked(about=user) + self.events[place].asked(about=user)
        return [seen for seen in asked if seen.at > self.known_at]


LATER = "later-"
"""How those are called who come while others are failing."""


async def waited(folder: Path, parts: Parts) -> Waited:
    """All of it, until everything is settled."""
    async with contextlib.AsyncExitStack() as stack:
        lists = {place: await stack.enter_async_context(Destination.open()) for place in PLACES}
        events = {place: await stack.enter_async_context(Destination.open()) for place in PLACES}
        failing = [lists["memory"], lists["held"], events["memory"], events["held"]]
        for one in failing:
            one.on(_FAILS if one in lists.values() else Answer(status=500), [OUT, GONE])
        site = Site(folder, parts, **_sections(lists, events))
        async with site.running() as process:
            await site.ready()
            held = await _begun(site, process, failing)
            await process.post(opted(OUT, True), opted(BACK, True))
            await process.post({"type": "delete", "messageId": "d-1", "userId": GONE})
            await site.projected()
            known_at = asyncio.get_running_loop().time()
            for one in failing:
                one.rules.clear()
            await process.post(member(BACK, True))
            await site.settled()
            assert not any(one.has("vip", BACK) for one in lists.values()), "who opted out is on no list"
            await process.post(opted(BACK, False, 1))
            await site.settled()
        return Waited(lists, events, known_at, held, await site.fates(), await site.wrong_fates())


async def _begun(site: Site, process: Process, failing: Sequence[Destination]) -> set[tuple[str, str]]:
    """Everybody enters and buys; returns once those who are to wait do, and what is held then."""
    users = [*HEALTHY, OUT, GONE]
    await process.post(come(BACK), *(come(user) for user in users))
    await process.post(*(event for user in users for event in (member(user, True), bought(user, 1))))
    for one in failing:
        await one.until(lambda one=one: all(one.asked(about=user) for user in (OUT, GONE)))  # type: ignore[misc]
    async with asyncio.timeout(40):
        later = count()
        while len(held := {(one.processor, one.lane) for one in await site.held()}) < 4:
            user = f"{LATER}{next(later)}"  # somebody it works for: else nobody can tell that it is not the destination
            await process.post(come(user), member(user, True), bought(user, 1))
            await asyncio.sleep(1.0)
    return held


def _sections(lists: dict[str, Destination], events: dict[str, Destination]) -> dict[str, Any]:
    names = {"destinations": [*PLACES]}
    lanes = {place: lane for place, (lane, _) in PLACES.items()}
    forwards = {
        place: forward(events[place].url, purpose="marketing", **{**lane, **limits})
        for place, (lane, limits) in PLACES.items()
    }
    return {
        "log": {"partitions": PARTITIONS},
        "purposes": {"marketing": {"channels": ["email"], "unknown": "allow"}},
        "connectors": {place: crm(lists[place].port, timeout_s=1.5, **limits) for place, (_, limits) in PLACES.items()},
        "processors": {
            "profiles": {},
            "audiences": {**names, **lanes},
            "consent": {**names, **lanes},
            "deletion": {**names, **lanes},
            "forward": forwards,
        },
    }
