"""A destination: it answers every POST at once. In a process of its own it counts them.

python -m benchmarks.destination    prints its URL, answers a GET with a Seen as JSON, and serves until SIGTERM
"""

import asyncio
import contextlib
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

import msgspec
from msgspec import Struct

Answer = Callable[[bytes], bytes]
"""From the body of a request to that of its answer."""


class Seen(Struct):
    """How many requests came, and when the last one did, by time.monotonic."""

    requests: int = 0
    last: float = 0.0


@contextlib.asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """Its URL, while the block lasts."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answer), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@contextlib.asynccontextmanager
async def elsewhere() -> AsyncIterator[str]:
    """The URL of one in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.destination"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


class _Connection(asyncio.Protocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none, but has its methods

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (head := self._data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._data, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._data) < end:
                return
            body, self._data = self._data[head + 4 : end], self._data[end:]
            answer = self._answer(body)
            self._transport.write(_HTTP % (len(answer), answer))


_LENGTH = re.compile(rb"\ncontent-length: *(\d+)", re.IGNORECASE)
_HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


async def _main() -> None:
    seen, end = Seen(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)

    def answer(body: bytes) -> bytes:
        if not body:
            return msgspec.json.encode(seen)
        seen.requests += 1
        seen.last = time.monotonic()
        return b"{}"

    async with answering(answer) as url:
        print(url, flush=True)
        await end.wait()


if __name__ == "__main__":
    import uvloop

    from benchmarks.load import last_core

    last_core()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
