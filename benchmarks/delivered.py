"""From a POST to the call that it causes at a destination, at half of what the process takes and deals with. See
docs/operating.md."""

import asyncio
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks import destination, pace, traffic
from benchmarks.load import Order, load
from benchmarks.served import config, forwarding, serving, syncing
from benchmarks.table import Goal, Row
from benchmarks.traffic import Mix

_DIFFERENT = 20_000  # events of the full load: what comes twice is forwarded once
_LAST_S = 30.0  # for what is still on its way


class Way(Struct, frozen=True):
    """What is measured: the processors, how a call names the number of its event, and which share of the events cause
    one."""

    kind: str
    settings: Any
    number: re.Pattern[bytes]
    mix: Mix


async def forwarded(quick: bool) -> Row:
    """Every event is forwarded."""
    number = re.compile(rb'"messageId":"ajs-.{23}(\d+)"')
    return await _row("forwarded", "POST to forwarded", Way("forwarding", forwarding, number, Mix()), quick)


async def told(quick: bool) -> Row:
    """One event in a hundred enters an audience, and the destination is told."""
    way = Way("syncing", syncing, re.compile(rb'"list":"list_(\d+)"'), Mix(enters=0.01))
    return await _row("told", "POST to a membership told", way, quick)


async def _row(name: str, work: str, way: Way, quick: bool) -> Row:
    rate, waits = await _measured(way, 4.0 if quick else 10.0)
    p95 = sorted(waits)[int(0.95 * len(waits))]
    goals = (Goal("ms p95", 1_000 * p95, 50.0, at_most=True),)
    figures = {"requests/s": [rate], "calls": [float(len(waits))], "p50 s": [statistics.median(waits)], "p95 s": [p95]}
    return Row(name, f"{work}, at half load ({rate:,.0f}/s)", "-", goals, figures)


async def _measured(way: Way, seconds: float) -> tuple[float, list[float]]:
    """The rate; and of each event that causes a call, seconds from when its POST was due until the call came."""
    came: dict[int, float] = {}

    def answer(body: bytes) -> bytes:
        if found := way.number.search(body):
            came.setdefault(int(found[1]), time.monotonic())
        return b"{}"

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with destination.answering(answer) as url, serving(way.kind, folder, url) as port:
            settings = config(folder, **way.settings(url))
            full = Order(port=port, seconds=1.0, mix=way.mix, different=_DIFFERENT)
            rate = await pace.half(full, settings)
            await load(Order(port=port, seconds=2.0, rate=rate, mix=way.mix))
            await pace.caught_up(settings)
            order = Order(port=port, seconds=seconds, rate=rate, mix=Mix(first=1_000_000, enters=way.mix.enters))
            result = await load(order)
            due = _due(order, result.requests)
            async with asyncio.timeout(_LAST_S):
                while due.keys() - came.keys():
                    await asyncio.sleep(0.05)
    return rate, [came[number] - result.begun - at for number, at in due.items()]


def _due(order: Order, sent: int) -> dict[int, float]:
    """Of each event that causes a call, by its number: when its POST is due, in seconds from the beginning."""
    assert order.rate is not None
    first, rate = order.mix.first, order.rate
    return {
        first + n: n / rate
        for n, (kind, _, _) in enumerate(traffic.events(order.mix, sent))
        if kind == "identify" or not order.mix.enters
    }
