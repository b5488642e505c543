"""Members of one processor that come and go, are killed and frozen, under load: the state is as if nothing were."""

import asyncio
import os
import signal
from pathlib import Path
from random import Random

import pytest

from tests.brokers.kafka import Broker
from tests.end_to_end.crash.process import looking
from tests.faults.conftest import Systems
from tests.faults.judged import wrong
from tests.faults.system import COUNTED, System

pytestmark = pytest.mark.slow

STORM_S = int(os.environ.get("STORM_S", "8"))
HOW = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)


async def test_members_that_come_and_go_every_second_lose_count_and_reorder_nothing(
    system: Systems, broker: Broker, postgres_url: str, tmp_path: Path
) -> None:
    async with system(broker, postgres_url) as running:
        async with running.load.running():
            await storm(running, Random(1))
            await running.load.more()
        assert await claims(running) > 2, "partitions went from member to member"
        async with running.member(), running.member():
            await running.settled()
        assert await wrong(running, tmp_path / "undisturbed") == []


async def storm(system: System, chance: Random) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(STORM_S):
            group.create_task(member(system, chance.uniform(2.0, 6.0), chance.choice(HOW)))
            await asyncio.sleep(1.0)


async def member(system: System, lives_s: float, how: signal.Signals) -> None:
    async with system.member() as process:
        await asyncio.sleep(lives_s)
        await process.end(how)
        assert process.returncode == (-how if how is signal.SIGKILL else 0), system.site.stderr


async def claims(system: System) -> int:
    """How often somebody has taken the partitions."""
    async with looking(system.site.config) as (_, store):
        [(most,)] = await store.db.reading(lambda tx: tx.all("SELECT max(claim) FROM positions"))
    return int(most)


async def test_a_member_that_is_frozen_past_its_session_writes_nothing_once_it_goes_on(
    system: Systems, broker: Broker, postgres_url: str, tmp_path: Path
) -> None:
    async with system(broker, postgres_url) as running, running.member() as one, running.member() as other:
        async with running.load.running():
            await running.load.more()
            for frozen in (one, other):
                await running.passed()
                os.kill(frozen.pid, signal.SIGSTOP)
                await running.load.more()
                await running.passed()  # by the one that is left, which has taken all partitions
                os.kill(frozen.pid, signal.SIGCONT)
                await running.load.more()
        await running.settled()
        assert await claims(running) > len(COUNTED)
        assert await wrong(running, tmp_path / "undisturbed") == []
