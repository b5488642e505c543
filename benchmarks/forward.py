"""Forward, from the log to a destination that answers at once, against a client loop without a log. See
docs/operating.md."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientSession, TCPConnector

from benchmarks import destination, traffic
from benchmarks.served import config, forwarding
from benchmarks.table import Goal, Row, ratio
from stream.answering import ASKED
from stream.app import App
from stream.message import Message

AT_ONCE = 64
_LOOK_S = 0.1
_HEADERS = {"Content-Type": "application/json"}


async def forward(quick: bool) -> Row:
    """Requests a second, 64 at a time: ours from a log whose events the projections have read."""
    ours, loop = [], []
    amount = 4_000 if quick else 10_000
    with tempfile.TemporaryDirectory() as temporary:
        async with destination.elsewhere() as url:
            for number in range((3 if quick else 7) + 1):
                messages = list(traffic.messages(traffic.Mix(first=number * amount), amount))
                folder = Path(temporary) / str(number)
                folder.mkdir()
                ours.append(await _forwarded(folder, url, messages))
                loop.append(await _posted(url, [one.value or b"" for one in messages]))
    goals = (Goal("of its requests/s", ratio(ours[1:], loop[1:]), 0.5),)  # the first round warms
    figures = {"requests/s": ours[1:], "plain requests/s": loop[1:]}
    return Row("forward", "forward, 64 at a time", "an aiohttp client loop, 64 at a time, no log", goals, figures)


async def _forwarded(folder: Path, url: str, messages: Sequence[Message]) -> float:
    async with App.open(config(folder, **forwarding(url))) as app:
        runner = app.worker.runners["forward.copy"]
        async with runner.joined() as cursor:  # a new one starts at the end of the log: it is empty now
            while not runner.owns_something:
                await cursor.fetch(1)
        for first in range(0, len(messages), 1_000):
            await app.log.append(messages[first : first + 1_000])
        await _project(app)
        before, begun = await _seen(url), time.monotonic()
        async with _running(runner.run()):
            while any(one.behind for one in await app.worker.lags()):
                await asyncio.sleep(_LOOK_S)
        seen = await _seen(url)
        if seen.requests - before.requests != len(messages):
            raise RuntimeError(f"{seen.requests - before.requests} of {len(messages)} were forwarded")
        return len(messages) / (seen.last - begun)


async def _project(app: App) -> None:
    """The projections read everything: the gate asks who they say that somebody is."""
    now = time.time()
    async with contextlib.AsyncExitStack() as stack:
        for projector in app.worker.projectors.values():
            await stack.enter_async_context(_running(projector.run()))
        store = app.around.store
        while True:
            standing = await store.db.reading(store.positions.standing)
            if all((standing.get(name) or 0.0) > now for name in ASKED):
                return
            await asyncio.sleep(_LOOK_S)


async def _posted(url: str, bodies: Sequence[bytes]) -> float:
    """What a good engineer writes first: no retry, no position, nobody is asked, nothing is remembered."""
    left, begun = iter(bodies), time.monotonic()
    async with ClientSession(connector=TCPConnector(limit=AT_ONCE)) as session:

        async def work() -> None:
            for body in left:
                async with session.post(url, data=body, headers=_HEADERS) as response:
                    response.raise_for_status()
                    await response.read()

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return len(bodies) / ((await _seen(url)).last - begun)


async def _seen(url: str) -> destination.Seen:
    async with ClientSession() as session, session.get(url) as response:
        return msgspec.json.decode(await response.read(), type=destination.Seen)


@contextlib.asynccontextmanager
async def _running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
