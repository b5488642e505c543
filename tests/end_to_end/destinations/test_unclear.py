"""Somebody entered, that was sent with an unclear outcome, and they left before the retry: in the end they are not on
the list, even where what was sent is carried out last."""

import asyncio
import contextlib
import signal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.brokers.fixtures import PARTS, parts_for
from tests.brokers.parts import Parts
from tests.destination import Answer, Destination
from tests.end_to_end.destinations.people import come, member
from tests.end_to_end.destinations.site import QUICK, Site, crm

pytestmark = pytest.mark.slow

TIMEOUT_S = 1.0  # so that what was sent may arrive for 3 s: a lease
LATE_S = 2.7
LAST = "carried out too late"
UNCLEAR = {
    "answered too late": Answer(delay=LATE_S, effect="before"),
    LAST: Answer(delay=LATE_S, effect="after"),
    "reset": Answer(ends="reset", effect="before"),
    "refused by somebody between": Answer(status=502, effect="before"),
}


class Left(Struct, frozen=True):
    """A run: each destination, and what the store believes of it."""

    there: dict[str, Destination]
    told: dict[str, dict[str, str | None]]
    wrong_fates: list[str]


@pytest.fixture(scope="module", params=product((None, signal.SIGKILL), PARTS), ids=lambda one: f"{one[0]}-{one[1]}")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Ann enters; that is unclear everywhere; she leaves; the process is ended so, or is not, before it is told."""
    how, kind = request.param
    with parts_for(request, kind) as parts:
        return asyncio.run(left(tmp_path_factory.mktemp("site"), parts, how))


@pytest.mark.parametrize("name", UNCLEAR)
def test_who_left_before_an_unclear_send_was_repeated_is_not_on_the_list(run: Left, name: str) -> None:
    there = run.there[name]
    assert there.asked("PUT", "ann") and there.asked("DELETE", "ann")
    assert not there.has("vip", "ann")
    assert run.told[name] == {"list:vip": "false"}
    assert run.wrong_fates == []


async def left(folder: Path, parts: Parts, how: signal.Signals | None) -> Left:
    async with contextlib.AsyncExitStack() as stack:
        there = {name: await stack.enter_async_context(Destination.open()) for name in UNCLEAR}
        for name, answer in UNCLEAR.items():
            there[name].on(answer, method="PUT")
        site = Site(folder, parts, **_sections(there))
        async with site.running() as process:
            await site.ready()
            await process.post(come("ann"), member("ann", True))
            async with asyncio.timeout(10):
                while not await site.unclear(LAST):  # nobody has answered, and that is written down
                    await asyncio.sleep(0.01)
            await process.post(member("ann", False, 1))
            for one in there.values():
                one.rules.clear()
            if how is None:
                await asyncio.sleep(LATE_S)
                await site.settled()
            else:
                await process.end(how)
        if how is not None:
            async with site.running():
                await asyncio.sleep(LATE_S)
                await site.settled()
        told = {name: await site.told(name, "user_id:ann") for name in UNCLEAR}
        return Left(there, told, await site.wrong_fates())


def _sections(there: dict[str, Destination]) -> dict[str, Any]:
    audiences = {"destinations": [*there], **{name: {**QUICK, "patience_s": 30.0} for name in there}}
    return {
        "purposes": {"marketing": {"unknown": "allow"}},
        "connectors": {name: crm(one.port, timeout_s=TIMEOUT_S) for name, one in there.items()},
        "processors": {"profiles": {}, "consent": {}, "deletion": {}, "audiences": audiences},
    }
