"""Segment's own clients, unchanged, against a running receiver: what they send lies in the log."""

import asyncio
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from segment.analytics.client import Client

from stream import events
from stream.config import Config, SourceConfig
from stream.core.signature import sign
from stream.events import Event
from stream.log.opening import opened
from stream.places import LogConfig
from stream.telemetry import Metrics
from tests.brokers.parts import Parts
from tests.receiver.conftest import OpenLog, Receiver, Start, start

__all__ = ["start"]  # a fixture

NODE = Path(__file__).parent / "node"
CONFIG = Config(sources={"shop": SourceConfig(write_key="wk", secrets=("abc123",))})
ONE_OF_EACH = Counter(["track", "identify", "page", "screen", "group", "alias"])
Send = Callable[[Client], Any]


@pytest.fixture
def open_log(parts: Parts, tmp_path: Path) -> OpenLog:
    """What the receiver appends to."""
    config = parts.config(Config(log=LogConfig(url=f"sqlite:{tmp_path / 'log.db'}")))
    return lambda: opened(config, time.time, Metrics(CollectorRegistry()))


async def received(receiver: Receiver) -> list[Event]:
    return [events.decode(message) for message in await receiver.messages()]


async def sent_by_python(receiver: Receiver, send: Send, **options: Any) -> list[Event]:
    errors: list[object] = []
    client = Client(
        "wk", host=f"http://127.0.0.1:{receiver.port}", on_error=lambda error, _: errors.append(error), **options
    )

    def run() -> None:
        send(client)
        client.shutdown()  # flushes, and ends its thread

    await asyncio.to_thread(run)
    assert errors == []
    return await received(receiver)


def one_of_each(client: Client) -> None:
    client.identify("python-1", {"email": "python@example.com", "plan": "größer"})
    client.track("python-1", "Order Completed", {"revenue": 19.99, "not a number": float("nan")})
    client.page(anonymous_id="python-anonymous", name="Home")
    client.screen("python-1", name="Main")
    client.group("python-1", "initech", {"employees": 329})
    client.alias("python-0", "python-1")


@pytest.mark.slow
@pytest.mark.parametrize("gzip", [False, True])
async def test_segments_python_client_with_its_default_batching(start: Start, gzip: bool) -> None:
    found = await sent_by_python(await start(CONFIG), one_of_each, gzip=gzip)
    assert Counter(event.type for event in found) == ONE_OF_EACH
    assert {event.source for event in found} == {"shop"}
    identify = next(event for event in found if event.type == "identify")
    assert (identify.user_id, identify.traits["plan"]) == ("python-1", "größer")
    assert identify.context["library"]["name"] == "analytics-python"
    track = next(event for event in found if event.type == "track")
    assert (track.event, track.properties["revenue"]) == ("Order Completed", 19.99)


@pytest.mark.slow
async def test_segments_python_client_sends_many_batches_and_none_is_lost(start: Start) -> None:
    def many(client: Client) -> None:
        for number in range(1_000):
            client.track(f"user-{number % 7}", "Clicked", {"number": number})

    found = await sent_by_python(await start(CONFIG), many, gzip=True)
    assert sorted(event.properties["number"] for event in found) == list(range(1_000))


async def run(*command: str, input: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate(input)
    assert process.returncode == 0, error.decode()
    return out.decode()


def must_have(program: str) -> None:
    if shutil.which(program) is None:
        assert not os.environ.get("CI"), f"CI needs {program} for this test"
        pytest.skip(f"there is no {program} here")


@pytest.mark.slow
async def test_segments_node_client(start: Start) -> None:
    must_have("npm")
    if not (NODE / "node_modules" / ".package-lock.json").exists():
        await run("npm", "ci", "--prefix", str(NODE), "--ignore-scripts", "--no-audit", "--no-fund")
    receiver = await start(CONFIG)
    await run("node", str(NODE / "send.js"), f"http://127.0.0.1:{receiver.port}", "wk")
    found = await received(receiver)
    assert Counter(event.type for event in found) == ONE_OF_EACH
    identify = next(event for event in found if event.type == "identify")
    assert (identify.subject, identify.traits["plan"]) == ("user:node-1", "größer")
    assert identify.message_id.startswith("node-next-")
    page = next(event for event in found if event.type == "page")
    assert page.subject == "anon:node-anonymous"


async def test_curl(start: Start) -> None:
    must_have("curl")
    receiver = await start(CONFIG)
    url = f"http://127.0.0.1:{receiver.port}"
    body = b'{"type":"identify","userId":"curl-1","traits":{"plan":"pro"}}'
    batch = b'{"batch":[%b]}' % body
    answers = [
        await run("curl", "-sS", f"{url}/v1/identify", "-u", "wk:", "-d", body.decode()),
        await run(
            "curl", "-sS", f"{url}/segment/shop", "-H", "X-Signature: " + sign(body, "abc123"), "-d", body.decode()
        ),
        await run("curl", "-sS", f"{url}/v1/batch", "-u", "wk:", "-X", "POST", "-T", "-", input=batch),  # chunked
    ]
    assert [json.loads(answer) for answer in answers] == [{"success": True}] * 3
    assert await receiver.kept() == [("segment.identify", body)] * 3
