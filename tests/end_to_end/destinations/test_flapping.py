"""A membership that flaps a thousand times in one second ends at the destination in the last state, with few calls."""

from pathlib import Path
from typing import Any

import pytest

from tests.brokers.parts import Parts
from tests.destination import Destination
from tests.end_to_end.destinations.people import come, member
from tests.end_to_end.destinations.site import Site, crm

pytestmark = pytest.mark.slow

FLAPS = 1_000
STAYS = {"ann": True, "bob": False}
"""Who flaps, and whether they are in it in the end."""
SECTIONS: dict[str, Any] = {"profiles": {}, "consent": {}, "deletion": {}, "audiences": {"destinations": ["crm"]}}


async def test_a_membership_that_flaps_ends_in_its_last_state_with_few_calls(tmp_path: Path, parts: Parts) -> None:
    purposes = {"marketing": {"unknown": "allow"}}
    async with Destination.open() as there:
        site = Site(tmp_path, parts, purposes=purposes, connectors={"crm": crm(there.port)}, processors=SECTIONS)
        async with site.running() as process:
            await site.ready()
            await process.post(*(event for user in STAYS for event in (come(user), member(user, True))))
            await there.until(lambda: all(there.has("vip", user) for user in STAYS))
            for start in range(0, FLAPS, 50):
                numbers = range(start + 1, start + 51)
                await process.post(*(member(u, bool(n % 2) != STAYS[u], n) for n in numbers for u in STAYS))
            await site.settled()
        for user, stays in STAYS.items():
            assert there.has("vip", user) == stays
            assert len(there.asked(about=user)) < FLAPS / 20
        assert await site.wrong_fates() == []
