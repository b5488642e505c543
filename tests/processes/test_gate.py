"""The gate, where `consent` is a process of its own that is killed or frozen while another one sends."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from time import monotonic, time
from typing import Any

import pytest

from stream.config import Config
from tests.destination import Destination
from tests.end_to_end.crash.process import looking
from tests.end_to_end.destinations.people import come, member, opted
from tests.end_to_end.destinations.site import Process, Site, crm
from tests.processes.conftest import MAX_LAG_S

pytestmark = pytest.mark.slow

_PATIENCE_S = 60.0
_WATCHED_S = 3 * MAX_LAG_S
SENDING = ("profiles", "audiences", "deletion")


def sections(there: Destination) -> dict[str, Any]:
    marketing = {"channels": ["email"], "unknown": "allow"}
    processors = {"profiles": {}, "audiences": {"destinations": ["crm"]}, "consent": {}, "deletion": {}}
    return {"processors": processors, "purposes": {"marketing": marketing}, "connectors": {"crm": crm(there.port)}}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_nothing_is_given_while_consent_elsewhere_cannot_say_who_opted_out(
    site: Callable[..., Site], how: signal.Signals
) -> None:
    async with Destination.open() as there, AsyncExitStack() as stack:
        one = site(**sections(there))
        receiver = await stack.enter_async_context(one.running("receiver"))
        await stack.enter_async_context(one.running(*SENDING))
        consent = await stack.enter_async_context(one.running("consent"))
        await one.ready()
        await receiver.post(come("ada"), member("ada", True))
        await there.until(lambda: "ada" in there.lists.get("vip", ()), within=_PATIENCE_S)

        os.kill(consent.pid, how)
        await closed(one.config)
        await receiver.post(come("bob"), opted("bob", out=True), come("eve"))
        await receiver.post(member("bob", True), member("eve", True))
        await nothing_is_given(there)

        await back(stack, one, consent, how)
        await there.until(lambda: "eve" in there.lists["vip"], within=_PATIENCE_S)
        await one.settled(within=_PATIENCE_S)
        assert there.lists == {"vip": {"ada", "eve"}}, "bob said no while nobody could hear it"


async def back(stack: AsyncExitStack, one: Site, consent: Process, how: signal.Signals) -> None:
    if how is signal.SIGSTOP:
        os.kill(consent.pid, signal.SIGCONT)
        return
    await consent.end(how)
    await stack.enter_async_context(one.running("consent"))


async def closed(config: Config) -> None:
    """Waits until nobody has heard of consent for longer than the gate allows."""
    ends = monotonic() + _PATIENCE_S
    async with looking(config) as (_, store):
        while time() - ((await store.db.reading(store.positions.standing))["consent"] or 0.0) <= MAX_LAG_S:
            assert monotonic() < ends
            await asyncio.sleep(0.1)


async def nothing_is_given(there: Destination) -> None:
    """For some time, in which a gate that is open would have let it through."""
    before, ends = len(there.seen), monotonic() + _WATCHED_S
    while monotonic() < ends:
        assert [seen.path for seen in there.seen[before:]] == []
        await asyncio.sleep(0.1)
