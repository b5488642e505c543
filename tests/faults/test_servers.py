"""Servers that stop, are killed and are full, under load: nothing acknowledged is lost, and all of it goes on."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.fixtures import OwnCluster, OwnServer
from tests.brokers.kafka import Broker
from tests.faults.conftest import Systems
from tests.faults.judged import wrong

pytestmark = pytest.mark.slow

_ROOM = 48 * 1024 * 1024
_CHUNK = 64 * 1024


async def test_brokers_and_stores_that_stop_and_are_killed_cost_nothing(
    system: Systems, broker: Broker, own_server: OwnServer, tmp_path: Path
) -> None:
    async with own_server() as server, system(broker, server.url) as running:
        async with running.member(), running.member():
            async with running.load.running():
                await running.load.more()
                for end in (broker.stop, broker.kill):
                    await end()
                    await running.load.more(running.spilling.url)
                    await broker.start()
                    await running.load.more()
                await server.kill()
                await running.load.more()  # receivers need none
                await server.start()
                await running.passed()
            assert running.load.answers == {running.spilling.url: {200}, running.plain.url: {200, 503}}
            await running.settled()
        assert await wrong(running, tmp_path / "undisturbed") == []


async def test_a_broker_whose_disk_is_full_costs_nothing_and_goes_on_once_there_is_room(
    system: Systems, own_cluster: OwnCluster, postgres_url: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with own_cluster(1, {"log.dirs": str(disk)}) as (broker,), system(broker, postgres_url) as running:
            async with running.member(), running.load.running():
                await running.load.more()
                with filled(disk):
                    await running.load.refused(running.plain.url)
                    await running.load.more(running.spilling.url)
                    await broker.kill()  # what is left of it
                await broker.start()
                await running.load.more()
            async with running.member():
                await running.settled()
            assert await wrong(running, tmp_path / "undisturbed") == []


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, in memory: only root can make one."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Inside, there is no room for another byte."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * _CHUNK):
            pass
    try:
        yield
    finally:
        ballast.unlink()
