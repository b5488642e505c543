"""The receiver on a real Kafka. Its broker shares a core with the load; what is measured has the other ones."""

import contextlib
from collections.abc import AsyncIterator

import msgspec

from benchmarks import servers
from benchmarks.load import Order, load
from benchmarks.served import serving
from benchmarks.table import Goal, Row, ratio

_CONNECTIONS = (64, 256)
_BATCHES = (100, 1_000)


async def post(quick: bool) -> Row:
    """Single events, acknowledged by Kafka, against the same HTTP stack that keeps nothing, and that waits for
    `send_and_wait` of each request; beside them the receiver that checks a signature, too."""
    figures: dict[str, list[float]] = {}
    kinds = ("nothing", "sent", "kafka", "kafka-signed")
    async with _ports(kinds) as ports:
        for port in ports.values():
            await load(Order(port=port, seconds=1.0))
        for _ in range(3 if quick else 7):
            for connections in _CONNECTIONS:
                for kind, port in ports.items():
                    result = await load(Order(port=port, seconds=1.0 if quick else 2.0, connections=connections))
                    figures.setdefault(f"{kind} {connections}", []).append(result.per_second)
                    figures.setdefault(f"{kind} {connections} p99 s", []).append(result.wait(0.99))
    goals = [
        goal
        for c in _CONNECTIONS
        for goal in (
            Goal(f"of nothing's, {c} connections", ratio(figures[f"kafka {c}"], figures[f"nothing {c}"]), 0.6),
            Goal(f"x send_and_wait, {c} connections", ratio(figures[f"kafka {c}"], figures[f"sent {c}"]), 1.5),
        )
    ]
    return Row("kafka-post", "single-event POST → Kafka", "keeping nothing; send_and_wait", tuple(goals), figures)


async def batch(quick: bool) -> Row:
    """Batches, acknowledged by Kafka, against `send` of each event."""
    figures: dict[str, list[float]] = {}
    async with _ports(("sending", "kafka")) as ports:
        for size in _BATCHES:
            order = Order(port=0, seconds=1.0 if quick else 2.0, batch=size, connections=16 if size < 1_000 else 8)
            for port in ports.values():
                await load(msgspec.structs.replace(order, port=port, seconds=0.5))
            for _ in range(3 if quick else 5):
                for kind, port in ports.items():
                    result = await load(msgspec.structs.replace(order, port=port))
                    figures.setdefault(f"{kind} {size}", []).append(size * result.per_second)
    goals = tuple(
        Goal(f"x send(), batches of {size:,}", ratio(figures[f"kafka {size}"], figures[f"sending {size}"]), 3.0)
        for size in _BATCHES
    )
    return Row(
        "kafka-batch", "batch POST of 100 and 1,000 events → Kafka", "aiokafka's send() per event", goals, figures
    )


@contextlib.asynccontextmanager
async def _ports(kinds: tuple[str, ...]) -> AsyncIterator[dict[str, int]]:
    async with servers.broker() as broker, contextlib.AsyncExitStack() as stack:
        with servers.apart():
            ports = {kind: await stack.enter_async_context(serving(kind, url=broker)) for kind in kinds}
        yield ports  # and the load is on the last core
