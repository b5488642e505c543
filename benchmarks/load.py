"""The load: one process, keep-alive connections, requests made before the clock starts. Cheap, so that it is the
receiver that is measured.

    python -m benchmarks.load < order.json    prints a Result as JSON
"""

import asyncio
import os
import sys
import time
from collections import deque
from typing import cast

import msgspec
from msgspec import Struct

from benchmarks import traffic

ANSWER = b'{"success":true}'
_TICK_S = 0.001


class Order(Struct, frozen=True, kw_only=True):
    """What to send. Without a rate each connection sends its next request when the last one is answered; with one,
    requests are due by the clock, and how long they take counts from when they were due, sent or not."""

    port: int
    seconds: float
    mix: traffic.Mix = traffic.Mix()
    connections: int = 64
    batch: int = 1
    rate: float | None = None
    different: int = 4_000  # events; without a rate they are sent over and over


class Result(Struct, frozen=True, kw_only=True):
    """What was answered with success, and how long each took in seconds. `begun` is of time.monotonic."""

    begun: float
    seconds: float
    requests: int
    failed: int
    waits: list[float]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    def wait(self, share: float) -> float:
        """The time within which this share of the requests was answered."""
        ordered = sorted(self.waits)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


async def load(order: Order) -> Result:
    """Sends it from a process of its own: this file, run. Raises RuntimeError unless all of it was answered."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate(msgspec.json.encode(order))
    result = msgspec.json.decode(answer, type=Result)
    if result.failed or not result.requests:
        raise RuntimeError(f"{result.failed} of {result.failed + result.requests} requests failed")
    return result


class _Connection(asyncio.Protocol):
    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._answer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none, but has its methods

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._answer.endswith(ANSWER) or not self._answer.startswith(b"HTTP/1.1 200"):
            good = self._answer.startswith(b"HTTP/1.1 200")
            self._answer = b""
            self._load.answered(self, self._due, good)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.lost()


class _Load:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._requests = traffic.requests(order.mix, _enough(order), order.batch)
        self._next = 0
        self._waits: list[float] = []
        self._failed = 0
        self._idle: list[_Connection] = []
        self._due: deque[float] = deque()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Result:
        for _ in range(self._order.connections):
            await self._loop.create_connection(lambda: self._joined(_Connection(self)), "127.0.0.1", self._order.port)
        begun, self._begun = time.monotonic(), self._loop.time()
        self._ends = self._begun + self._order.seconds
        await (self._by_answers() if self._order.rate is None else self._by_the_clock(self._order.rate))
        took = self._loop.time() - self._begun
        return Result(begun=begun, seconds=took, requests=len(self._waits), failed=self._failed, waits=self._waits)

    def answered(self, connection: _Connection, due: float, good: bool) -> None:
        now = self._loop.time()
        if good:
            self._waits.append(now - due)
        else:
            self._failed += 1
        if self._order.rate is None and now < self._ends:
            self._send(connection, now)
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def lost(self) -> None:
        self._failed += 1

    def _joined(self, connection: _Connection) -> _Connection:
        self._idle.append(connection)
        return connection

    @property
    def _busy(self) -> bool:
        return len(self._idle) < self._order.connections

    async def _by_answers(self) -> None:
        for connection in [self._idle.pop() for _ in range(len(self._idle))]:
            self._send(connection, self._loop.time())
        await self._all_answered()

    async def _by_the_clock(self, rate: float) -> None:
        came = 0
        while (now := self._loop.time()) < self._ends:
            wanted = int((now - self._begun) * rate)
            for number in range(came, wanted):
                self._due.append(self._begun + number / rate)
            came = wanted
            while self._due and self._idle:
                self._send(self._idle.pop(), self._due.popleft())
            await asyncio.sleep(_TICK_S)
        await self._all_answered()

    async def _all_answered(self) -> None:
        while self._loop.time() < self._ends + 30 and (self._due or self._busy):
            await asyncio.sleep(_TICK_S)

    def _send(self, connection: _Connection, due: float) -> None:
        connection.send(self._requests[self._next % len(self._requests)], due)
        self._next += 1


def _enough(order: Order) -> int:
    """At a rate, all of them differ, since processors are listening; otherwise some thousand, over and over."""
    return int(order.rate * order.seconds) + 1 if order.rate else max(order.different // order.batch, 16)


async def _main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    result = await _Load(order).run()
    sys.stdout.buffer.write(msgspec.json.encode(result))


def last_core() -> None:
    """This process, on the last core; the others are left to what is measured."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    import uvloop

    last_core()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
