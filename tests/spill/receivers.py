"""Receivers as processes of their own, in front of a real Kafka."""

import asyncio
import json
import resource
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from stream import config, topics
from stream.log.kafka_admin import Topic, create
from stream.log.opening import kafka, looked_at
from stream.store import Store
from tests.brokers.kafka import Broker

ROOT = Path(__file__).parents[2]
PARTITIONS = 4


class Receiver:
    """A running `stream run receiver`."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, client: ClientSession) -> None:
        self._process, self._url, self._client = process, url, client

    async def post(self, user: str, number: int, size: int = 0) -> int:
        """The status of the answer to one event."""
        event = {"type": "track", "userId": user, "event": "E", "properties": {"n": number}, "filler": "x" * size}
        async with self._client.post(f"{self._url}/segment", json=event) as answer:
            await answer.read()
            return answer.status

    async def ready(self) -> int:
        async with self._client.get(f"{self._url}/ready") as answer:
            return answer.status

    async def metric(self, name: str) -> float:
        async with self._client.get(f"{self._url}/metrics") as answer:
            found = [line for line in (await answer.text()).splitlines() if line.startswith(f"{name} ")]
        return float(found[0].split()[1])

    async def until(self, name: str, value: float) -> None:
        """Returns once the metric has the value."""
        async with asyncio.timeout(60):
            while await self.metric(name) != value:
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        return self._process.wait(30)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Inside, the system refuses every byte that it writes to a file."""
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (hard, hard))


class Site:
    """A configuration in a folder, on topics of its own; receivers on it share the spill folder."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder = folder
        prefix = f"test-{uuid.uuid4().hex[:12]}."
        names = "\n".join(f'"{name}" = "{prefix}{name}"' for name in topics.ALL)
        self.file = folder / "stream.toml"
        self.file.write_text(
            f'[receiver]\nport = 0\n[log]\nurl = "kafka://{broker.bootstrap}"\n[topics]\n{names}\n[kafka]\n'
            f"append_timeout_s = 1.0\nmax_message_bytes = 100000\nreplication_factor = 1\nmin_insync_replicas = 1\n"
            f'group_prefix = "{prefix}"\n[spill]\nfolder = "spill"\n[store]\nurl = "sqlite:state.db"\n'
        )
        self.config = config.load(self.file)

    async def make_topics(self) -> None:
        async with kafka(self.config) as there, there.admin() as admin:
            await create(admin, [Topic(self.config.topics[name], PARTITIONS, 1, {}) for name in topics.ALL])

    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        """Once it listens; killed on leaving."""
        with self._started() as process:
            try:
                assert process.stdout is not None
                line = await asyncio.to_thread(process.stdout.readline)
                assert line, self.said()
                async with ClientSession() as client:
                    yield Receiver(process, json.loads(line)["receiver"], client)
            finally:
                process.kill()

    def _started(self) -> "subprocess.Popen[str]":
        words = [sys.executable, "-m", "stream", "--config", str(self.file), "run", "--json", "receiver"]
        with (self.folder / "stderr").open("a") as errors:
            return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)

    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    async def told(self, receivers: int = 1) -> list[float]:
        """What the store knows of the spills, once it is about so many receivers."""
        async with asyncio.timeout(30), Store.open(self.config.store, self.config.identity) as store:
            while len(found := await store.spilled.all()) != receivers:
                await asyncio.sleep(0.05)
        return list(found.values())

    async def numbers(self) -> dict[str, list[int]]:
        """By user, the numbers in Kafka in the order in which they came first."""
        found: dict[str, dict[int, None]] = {}
        async with looked_at(self.config) as log:
            async for delivery in log.read(topics.RAW["track"]):
                event: dict[str, Any] = json.loads(delivery.message.value or b"")
                found.setdefault(event["userId"], {})[event["properties"]["n"]] = None
        return {user: list(one) for user, one in found.items()}
