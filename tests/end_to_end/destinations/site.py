"""Site: a folder with a configuration, `stream run` as a process of its own in it, and what the store says of it.

The destinations listen in the test. Time is compressed: where production waits for minutes, `QUICK` waits for parts of
a second; nothing else is changed.
"""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from stream import topics
from stream.building import build
from stream.config import Config, load
from stream.core.signature import sign
from stream.lag import measure, readers
from stream.log import Log
from stream.processor import Projection
from stream.store import Held, Store
from stream.store.confirmed import Told
from stream.store.database import Transaction
from tests import destination
from tests.brokers.parts import FILES, Parts, toml
from tests.end_to_end.crash.posts import Event, post
from tests.end_to_end.crash.process import ROOT, looking

SECRET = "secret-of-the-source"
TOPICS = [topics.PERSON_CHANGED, *topics.RAW.values()]
QUICK = {"patience_s": 0.3, "longest_wait_s": 1.0, "grace_s": 2.0}
"""Of a lane: how long it is tried in memory, how long it waits at most while it is held, how long it may end."""
_PATIENCE_S = 90.0


class Process:
    """`stream run`, listening."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.pid = process.pid
        self.url = url
        self.returncode: int | None = None

    async def post(self, *events: Event) -> None:
        """One signed request, answered 200: all of these are durable."""
        status = await post(self.url, *signed(events))
        assert status == 200, status

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, and waits for that."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        self.returncode = await self._process.wait()

    @property
    def memory(self) -> int:
        """The most bytes that it ever had in memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


class Site:
    """The folder, and what its files say."""

    def __init__(self, folder: Path, parts: Parts = FILES, **sections: Mapping[str, Any]) -> None:
        self.folder = folder
        receiver = {"host": "127.0.0.1", "port": 0, "secrets": [SECRET]}
        folder.mkdir(parents=True, exist_ok=True)
        every = parts.sections({"receiver": receiver, "log": {"partitions": 2}} | sections)
        (folder / "stream.toml").write_text(toml(every))

    @property
    def config(self) -> Config:
        return load(self.folder / "stream.toml")

    @property
    def stderr(self) -> str:
        """All that its processes had to say."""
        return (self.folder / "stderr").read_text()

    @asynccontextmanager
    async def running(self, *parts: str) -> AsyncIterator[Process]:
        """The process, while the block lasts; ended with SIGTERM, if it runs until then, and then it exits with 0."""
        words = [sys.executable, "-m", "stream", "--config", str(self.folder / "stream.toml"), "run", "--json", *parts]
        with (self.folder / "stderr").open("a") as errors:
            started = await asyncio.create_subprocess_exec(
                *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=errors
            )
        try:
            assert started.stdout is not None
            line = await started.stdout.readline()
            assert line, self.stderr
            process = Process(started, json.loads(line)["receiver"])
            yield process
            if process.returncode is None:
                await process.end()
                assert process.returncode == 0, self.stderr
        finally:
            if started.returncode is None:
                started.kill()
                await started.wait()

    async def ready(self) -> None:
        """Waits until every sync and reactor has a place in the log: a new one starts at the end, as it is then."""
        names = {one.name for one in build(self.config).processors}
        ends = monotonic() + _PATIENCE_S
        async with looking(self.config) as (_, store):
            while left := names - (await store.positions.all()).keys():
                assert monotonic() < ends, f"without a position: {left}\n{self.stderr}"
                await asyncio.sleep(0.02)

    async def projected(self) -> None:
        """Waits until everything that was posted is in the store, whatever has been sent of it."""
        await self.settled([one.name for one in build(self.config).processors if not isinstance(one, Projection)])

    async def settled(self, but: Collection[str] = (), within: float = _PATIENCE_S) -> None:
        """Waits until everything that was posted has been dealt with, by all processors but these."""
        ends = monotonic() + within
        async with looking(self.config) as (log, store):
            while left := await self._unsettled(log, store, but):
                assert monotonic() < ends, f"not settled after {within} s: {left}\n{self.stderr}"
                await asyncio.sleep(0.05)

    async def fates(self) -> dict[str, dict[str, int]]:
        """By processor, how many deliveries ended how."""
        async with looking(self.config) as (_, store):
            return await store.positions.fates()

    async def held(self, processor: str | None = None) -> Sequence[Held]:
        """What is held."""
        async with looking(self.config) as (_, store):
            return await store.held.page(processor)

    async def told(self, name: str, *addresses: str) -> dict[str, str | None]:
        """What the store believes that a destination was told about an address: thing → JSON."""
        async with looking(self.config) as (_, store):
            found: list[Told] = await store.db.reading(lambda tx: store.confirmed.about(tx, name, (), addresses))
        return {one.thing: one.value for one in found}

    async def unclear(self, name: str) -> int:
        """How much a destination was told of which nobody knows whether it was heard, and nobody is telling it now."""
        unknown = "SELECT count(*) FROM confirmed WHERE destination = ? AND value IS NULL AND lease IS NULL"
        async with looking(self.config) as (_, store):
            [(amount,)] = await store.db.reading(lambda tx: tx.all(unknown, name))
        return int(amount)

    async def behind(self, processor: str) -> int:
        """How many messages it has still to pass."""
        async with looking(self.config) as (log, store):
            lags = await measure(log, await store.positions.all(), readers(build(self.config).processors))
        return next(one.behind for one in lags if one.processor == processor)

    async def wrong_fates(self) -> list[str]:
        """Of each sync and reactor: its fates add up to what it was given, and what is held to what came there."""
        acting = [one for one in build(self.config).processors if not isinstance(one, Projection)]
        async with looking(self.config) as (log, store):
            bounds, fates = await log.bounds(TOPICS), await store.positions.fates()
            held = await store.held.counts()
            found = []
            for reader in readers(acting):
                mine = fates.get(reader.name, {})
                given = sum(end for at, (_, end) in bounds.items() if at.topic in reader.topics)
                ended = sum(amount for fate, amount in mine.items() if not fate.startswith("left:"))
                left = sum(amount for fate, amount in mine.items() if fate.startswith("left:"))
                if ended != given:
                    found.append(f"{reader.name} gave {ended} fates to {given}: {mine}")
                if mine.get("held", 0) - left != sum(held.get(reader.name, {}).values()):
                    found.append(f"{reader.name} holds {held.get(reader.name)}: {mine}")
        return found

    async def _unsettled(self, log: Log, store: Store, but: Collection[str]) -> list[str]:
        every = [one for one in build(self.config).processors if one.name not in but]
        lags = await measure(log, await store.positions.all(), readers(every))
        found = [f"{one.processor} is behind by {one.behind}" for one in lags if one.behind]

        async def read(tx: Transaction) -> list[str]:
            marks = await tx.all("SELECT processor, subject, facet FROM marks")
            requests = await tx.all("SELECT id, kind FROM requests WHERE done IS NULL")
            deletions = await tx.all("SELECT id, state FROM deletions WHERE state <> 'done'")
            walks = await tx.all("SELECT processor, after FROM walks WHERE state = 'open'")
            waiting = await tx.all("SELECT processor, lane, reason FROM held WHERE state = 'waiting'")
            every = {"mark": marks, "request": requests, "deletion": () if but else deletions}
            every |= {"walk": [w for w in walks if w[0] not in but], "held": [w for w in waiting if w[0] not in but]}
            return [f"{what} {one}" for what, rows in every.items() for one in rows]

        return found + await store.db.reading(read)


def signed(events: Sequence[Event]) -> tuple[bytes, str]:
    """The body of a request, and its signature: of the first event."""
    body = msgspec.json.encode(events[0] if len(events) == 1 else events)
    return body, sign(msgspec.json.encode(events[0]), SECRET)


def crm(port: int, **more: Any) -> dict[str, Any]:
    """[connectors.crm] for a destination that knows people by their userId."""
    return destination.config(port, **{"kinds": ["user_id"], "timeout_s": 5.0, **more})


def forward(url: str, **more: Any) -> dict[str, Any]:
    """[processors.forward.NAME] of purchases only."""
    where = {"path": "event", "equals": "Bought"}
    given = {"url": f"{url}/events", "where": where, "types": ["track"], "allow_private": True, "timeout_s": 5.0}
    return {**given, **QUICK, **more}


def kept_port() -> socket.socket:
    """A port at which nobody listens, and that nobody else gets: a destination can be opened there all the same."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    return found
