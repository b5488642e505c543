"""Outages that last: an hour of a wrong key, a weekend of nobody there. The clock is put forward."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.parts import Parts
from tests.destination import Answer, Destination
from tests.end_to_end.destinations.inside import Ahead, inside
from tests.end_to_end.destinations.people import bought, come, member, numbers, who
from tests.end_to_end.destinations.site import Site, crm, forward, kept_port

pytestmark = pytest.mark.slow

PEOPLE = [who(number) for number in range(12)]
HOUR, WEEKEND = 3_600.0, 60 * 3_600.0
_STEP_S = 45.0  # less than the gate allows the projections to be behind


async def test_a_wrong_key_for_an_hour_kills_nothing_and_holds_nothing(tmp_path: Path, parts: Parts) -> None:
    clock = Ahead()
    async with Destination.open() as lists, Destination.open() as events:
        for one in (lists, events):
            one.on(Answer(status=401))
        # An hour is a few looks at an idle Kafka: that the projections have caught up is known less often than that.
        site = Site(tmp_path, parts, gate={"max_lag_s": HOUR}, **_sections(lists.port, events.port))
        async with inside(site.config, clock) as process:
            await site.ready()
            await process.post(*_everything(1, clock))
            await clock.passes(HOUR, _STEP_S)
            await process.post(*_everything(2, clock))
            asked = len(lists.seen), len(events.seen)
            assert not lists.lists and not events.events
            assert await site.held() == []
            for one in (lists, events):
                one.rules.clear()
            await _back(clock, lists, events, [1, 2])
            await site.settled()
        for amount in asked:
            assert 10 < amount < 2 * HOUR / _STEP_S, "it was asked again now and then, and not by everybody"
        assert await site.wrong_fates() == []


async def test_a_weekends_outage_loses_nothing_to_the_age_limit(tmp_path: Path, parts: Parts) -> None:
    clock = Ahead()
    async with contextlib.AsyncExitStack() as stack:
        ports = [int(stack.enter_context(kept_port()).getsockname()[1]) for _ in range(2)]
        site = Site(tmp_path, parts, **_sections(*ports))
        async with inside(site.config, clock) as process:
            await site.ready()
            await process.post(*_everything(1, clock))
            await half_of_it(clock)
        async with inside(site.config, clock) as process:  # it is also restarted meanwhile
            await process.post(*_everything(2, clock))
            await process.post(bought("old", 1, timestamp=_stamp(clock() - 25 * HOUR)))  # old when it is received
            await half_of_it(clock)
            lists, events = [await stack.enter_async_context(Destination.open(port)) for port in ports]
            await _back(clock, lists, events, [1, 2])
            await site.settled()
        assert numbers(events.events, "old") == []
        fates = (await site.fates())["forward.crm"]
        assert fates == {"applied": 2 * len(PEOPLE), "skipped:too_old": 1}
        assert await site.wrong_fates() == []


async def half_of_it(clock: Ahead) -> None:
    """Half a weekend, most of it at once."""
    await clock.passes(HOUR / 4, _STEP_S)
    await clock.passes(WEEKEND / 2 - HOUR / 2, 6 * HOUR)
    await clock.passes(HOUR / 4, _STEP_S)


async def _back(clock: Ahead, lists: Destination, events: Destination, sent: list[int]) -> None:
    """Waits until everything is there, and everybody's in order."""
    there: Callable[[], bool] = lambda: lists.lists.get("vip") == set(PEOPLE)  # noqa: E731
    await clock.until(lambda: there() and all(numbers(events.events, user) == sent for user in PEOPLE), step=1.0)


def _everything(number: int, clock: Ahead) -> list[Any]:
    at = {"timestamp": _stamp(clock())}
    entered = [event for user in PEOPLE for event in (come(user, **at), member(user, True, number, **at))]
    return [*entered, *(bought(user, number, **at) for user in PEOPLE)]


def _stamp(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _sections(lists: int, events: int) -> dict[str, Any]:
    return {
        "purposes": {"marketing": {"unknown": "allow"}},
        "connectors": {"crm": crm(lists, timeout_s=1.0)},
        "processors": {
            "profiles": {},
            "consent": {},
            "deletion": {},
            "audiences": {"destinations": ["crm"]},
            "forward": {"crm": forward(f"http://127.0.0.1:{events}", timeout_s=1.0)},
        },
    }
