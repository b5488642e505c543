"""Consuming while leaders change, on three brokers."""

import asyncio
import os

import pytest

from stream.errors import LogUnavailable
from stream.log import Cursor, Log
from tests.brokers.fixtures import OwnCluster
from tests.contracts.logs import OnKafka, Owner, joined, message

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", ["killed", "frozen"] if os.environ.get("EXHAUSTIVE") == "1" else ["killed"])
async def test_a_member_reads_on_from_the_next_leader_in_order_and_without_a_gap(
    own_cluster: OwnCluster, how: str
) -> None:
    owner, values = Owner(), set[int]()
    async with own_cluster(3) as brokers:
        there = OnKafka(",".join(broker.bootstrap for broker in brokers), copies=3)
        async with there.open() as log, joined(log, owner) as cursor:
            await sent(log, range(0, 50))
            await read(cursor, owner, values, 50)
            if how == "killed":
                await brokers[0].kill()
            else:
                brokers[0].freeze()
            await sent(log, range(50, 100))
            await read(cursor, owner, values, 100)
            if how == "killed":
                await brokers[0].start()
            else:
                brokers[0].thaw()
            await sent(log, range(100, 150))
            await read(cursor, owner, values, 150)


async def sent(log: Log, numbers: range) -> None:
    """Appends each until it is acknowledged: some may be there twice."""
    async with asyncio.timeout(60):
        for number in numbers:
            while True:
                try:
                    await log.append([message(f"{number}", b"%d" % number)])
                except LogUnavailable:
                    continue
                break


async def read(cursor: Cursor, owner: Owner, values: set[int], number: int) -> None:
    """Until it has so many different ones; the owner sees that offsets follow each other."""
    async with asyncio.timeout(90):
        while len(values) < number:
            deliveries = await cursor.fetch(100)
            owner.deal_with(deliveries)
            values |= {int(d.message.value or b"") for d in deliveries}
