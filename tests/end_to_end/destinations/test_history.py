"""A small year of memberships and consents, in whatever order it comes: the destination ends with Segment's; and when
all of it comes again, nothing is sent."""

from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.brokers.parts import Parts
from tests.destination import Destination
from tests.end_to_end.crash.posts import Event
from tests.end_to_end.destinations.people import come, member, opted, who
from tests.end_to_end.destinations.site import Site, crm

pytestmark = pytest.mark.slow

PEOPLE = [who(number) for number in range(25)]
AUDIENCES = ("vip", "gold", "new")
_BEGAN = datetime(2025, 1, 1)
_DAYS, _BATCH = 365, 100


class Year:
    """What happened, in order, and what Segment holds at the end of it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.events: list[Event] = [come(user, timestamp=_at(0, 0)) for user in PEOPLE]
        self.members: dict[str, set[str]] = {name: set() for name in AUDIENCES}
        self.allowed: dict[str, bool] = {}
        for day in range(1, _DAYS):
            for half in range(2):
                self._happens(day, half)

    @property
    def lists(self) -> dict[str, set[str]]:
        """Who is to be on which list: members who did not opt out."""
        return {name: {u for u in members if self.allowed.get(u, True)} for name, members in self.members.items()}

    def _happens(self, day: int, half: int) -> None:
        user, number, timestamp = self.random.choice(PEOPLE), day * 2 + half, _at(day, half)
        if self.random.random() < 0.3:
            out = self.random.random() < 0.5
            self.allowed[user] = not out
            self.events.append(opted(user, out, number, timestamp=timestamp))
        else:
            name, value = self.random.choice(AUDIENCES), self.random.random() < 0.6
            (self.members[name].add if value else self.members[name].discard)(user)
            self.events.append(member(user, value, number, name, timestamp=timestamp))

    def late(self) -> list[Event]:
        """As it comes at worst: some of it twice, and everything in any order."""
        events = [*self.events, *self.random.sample(self.events, len(self.events) // 4)]
        self.random.shuffle(events)
        return events

    def four_hours_late(self) -> list[Event]:
        """As Segment repeats what it could not deliver: in order, but for a tenth that comes behind the next ones."""
        late = set(self.random.sample(range(len(self.events)), len(self.events) // 10))
        order = sorted(range(len(self.events)), key=lambda index: index + (8.5 if index in late else 0))
        return [self.events[index] for index in order]


async def posted(site: Site, *histories: list[Event], there: Destination) -> list[int]:
    """Posts one history after another, each until it is settled; how many requests the destination got for each."""
    asked = []
    async with site.running() as process:
        await site.ready()
        for events in histories:
            before = len(there.seen)
            for start in range(0, len(events), _BATCH):
                await process.post(*events[start : start + _BATCH])
            await site.settled()
            asked.append(len(there.seen) - before)
    return asked


async def test_the_destination_ends_with_what_segment_holds_and_the_second_time_nothing_is_sent(
    tmp_path: Path, parts: Parts
) -> None:
    year = Year(seed=7)
    async with Destination.open() as there:
        site = Site(tmp_path, parts, **_sections(there))
        first, *again = await posted(site, year.late(), year.four_hours_late(), year.events, there=there)
        assert {name: members for name, members in there.lists.items() if members} == year.lists
        assert {user: said["email"] for user, said in there.consents.items()} == year.allowed
        assert first > len(PEOPLE), "there was much to tell"
        assert again == [0, 0]
        assert await site.wrong_fates() == []


def _at(day: int, half: int) -> str:
    """Half days after each other."""
    return (_BEGAN + timedelta(days=day, hours=12 * half)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sections(there: Destination) -> dict[str, Any]:
    names = {"destinations": ["crm"]}
    return {
        "purposes": {"marketing": {"channels": ["email"], "unknown": "allow"}},
        "connectors": {"crm": crm(there.port)},
        "processors": {"profiles": {}, "deletion": {}, "audiences": names, "consent": names},
    }
