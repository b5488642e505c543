"""From a POST to the call that it causes at a destination, at half of what the process takes and deals with; on files,
and on Kafka and PostgreSQL. See docs/operating.md."""

import asyncio
import contextlib
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks import destination, pace, servers, traffic
from benchmarks.load import Order, load
from benchmarks.served import config, forwarding, placed, serving, syncing
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


FORWARDED = Way("forwarding", forwarding, re.compile(rb'"messageId":"ajs-.{23}(\d+)"'), Mix())
TOLD = Way("syncing", syncing, re.compile(rb'"list":"list_(\d+)"'), Mix(enters=0.01))


async def forwarded(quick: bool) -> Row:
    """Every event is forwarded."""
    return await _row("forwarded", "POST to forwarded", FORWARDED, quick)


async def told(quick: bool) -> Row:
    """One event in a hundred enters an audience, and the destination is told."""
    return await _row("told", "POST to a membership told", TOLD, quick)


async def on_servers(quick: bool) -> Row:
    """Both, with the log on Kafka and the state in PostgreSQL. They and the load share the last core; the process that
    is measured has the other ones, and the destination has any."""
    seconds = 4.0 if quick else 10.0
    figures: dict[str, list[float]] = {}
    for name, way in (("forwarded", FORWARDED), ("told", TOLD)):
        # Each on servers of its own: the same events would come twice.
        async with servers.postgres() as state, servers.broker() as broker:
            found = await _measured(way, seconds, (f"kafka://{broker}", state))
        figures |= {f"{name} {figure}": values for figure, values in found.items()}
    rates = " and ".join(f"{figures[f'{name} requests/s'][0]:,.0f}" for name in ("forwarded", "told"))
    goals = tuple(
        Goal(f"ms p95, {name}", 1_000 * figures[f"{name} p95 s"][0], 100.0, at_most=True)
        for name in ("forwarded", "told")
    )
    work = f"POST to the call, on servers, half load ({rates}/s)"
    return Row("kafka-delivered", work, "-", goals, figures)


async def _row(name: str, work: str, way: Way, quick: bool) -> Row:
    figures = await _measured(way, 4.0 if quick else 10.0)
    goals = (Goal("ms p95", 1_000 * figures["p95 s"][0], 50.0, at_most=True),)
    return Row(name, f"{work}, at half load ({figures['requests/s'][0]:,.0f}/s)", "-", goals, figures)


async def _measured(way: Way, seconds: float, places: Sequence[str] = ()) -> dict[str, list[float]]:
    """The rate; and of the events that cause a call, seconds from when their POST was due until the call came.
    `places`: the urls of log and store, where they are not files."""
    came: dict[int, float] = {}

    def answer(body: bytes) -> bytes:
        if found := way.number.search(body):
            came.setdefault(int(found[1]), time.monotonic())
        return b"{}"

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with destination.answering(answer) as url, _serving(way.kind, folder, url, places) as port:
            settings = config(folder, **way.settings(url), **(placed(*places) if places else {}))
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
    waits = sorted(came[number] - result.begun - at for number, at in due.items())
    return {
        "requests/s": [rate],
        "calls": [float(len(waits))],
        "p50 s": [statistics.median(waits)],
        "p95 s": [waits[int(0.95 * len(waits))]],
    }


@contextlib.asynccontextmanager
async def _serving(kind: str, folder: Path, url: str, places: Sequence[str]) -> AsyncIterator[int]:
    async with contextlib.AsyncExitStack() as stack:
        with servers.apart() if places else contextlib.nullcontext():
            port = await stack.enter_async_context(serving(kind, folder, url, places))
        yield port


def _due(order: Order, sent: int) -> dict[int, float]:
    """Of each event that causes a call, by its number: when its POST is due, in seconds from the beginning."""
    assert order.rate is not None
    first, rate = order.mix.first, order.rate
    return {
        first + n: n / rate
        for n, (kind, _, _) in enumerate(traffic.events(order.mix, sent))
        if kind == "identify" or not order.mix.enters
    }
