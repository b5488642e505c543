"""Commands on real files: a system that the test steps by hand, and commands beside it, as from another process."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from stream.app import limits
from stream.building import build
from stream.config import load
from stream.errands import Errands
from stream.worker import Worker
from tests.embedded import Clock, Embedded

Command = Callable[..., Awaitable[Result]]

NOW = 1_700_000_000.0
CONFIG = """
[receiver]
port = 0
[sources.web]
write_key = "web-write-key"
[log]
url = "sqlite:log.db"
[store]
url = "sqlite:state.db"
[processors.profiles]
[processors.audiences]
[processors.consent]
[processors.deletion]
[processors.fragile]
"""
FRAGILE = """
from stream import Dead, Event, Projection, Table
from msgspec import Struct

class Total(Struct):
    sum: int = 0

class Fragile(Projection):
    name = "fragile"
    topics = ("track",)
    totals = Table("totals", Total)

    def handle(self, event: Event) -> None:
        if event.properties.get("dead"):
            raise Dead(event.properties["dead"])
        total = self.totals.get(event.subject) or Total()
        total.sum += event.properties["amount"]
        self.totals.put(event.subject, total)

def build(app, settings):
    return [Fragile()]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration with the four projections, and one that dies of what it does not expect."""
    (tmp_path / "stream.toml").write_text(CONFIG)
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "fragile.py").write_text(FRAGILE)
    return tmp_path


@pytest.fixture
async def system(folder: Path) -> Any:
    """The system on the folder's files."""
    async with Embedded.open(folder, load(folder / "stream.toml"), Clock(NOW)) as opened:
        yield opened


@pytest.fixture
def stream(folder: Path, run: Callable[..., Result]) -> Command:
    """Calls a command on the folder's files, beside whatever has them open."""
    return partial(asyncio.to_thread, run, "--config", folder / "stream.toml")


@pytest.fixture
def carried_out(system: Embedded, folder: Path) -> Callable[[Awaitable[Result]], Awaitable[Result]]:
    """Takes the steps of a running process until a command has its answer."""
    config = load(folder / "stream.toml")
    worker = Worker(system.around, build(config).projections, config.publish.profile)
    worker.projectors.update(system.projectors)
    errands = Errands(system.around, worker, limits(config))

    async def until_answered(command: Awaitable[Result]) -> Result:
        task = asyncio.ensure_future(command)
        while not task.done():
            if await errands.step():
                await system.settle()
            await asyncio.wait({task}, timeout=0.02)
        return await task

    return until_answered
