"""A destination that answers byte for byte what a test says, and a client that may talk to loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct
from prometheus_client import CollectorRegistry

from stream.connector import Limits, Request, Response
from stream.http import Client
from stream.telemetry import Metrics

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def answer(status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b"{}") -> bytes:
    lines = [f"HTTP/1.1 {status} .", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Received(Struct):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Remote:
    """`answers`: what is written for each request, in order, and the last one for all that follow; None: nothing, until
    the end of the test. A connection is dropped after an answer in `drops`."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = [OK]
        self.drops = False
        self.received: list[Received] = []
        self.connections = 0
        self.held = 0  # requests that wait for `free`
        self.most_held = 0
        self.free = asyncio.Event()
        self.free.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (received := await _received(reader)) is not None:
                self.received.append(received)
                await self._hold()
                text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if text is None:
                    await reader.read()
                    return
                writer.write(text)
                await writer.drain()
                if self.drops:
                    return
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _hold(self) -> None:
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        await self.free.wait()
        self.held -= 1


async def _received(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return Received(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def listening(**more: object) -> AsyncIterator[Remote]:
    remote = Remote()
    async with await asyncio.start_server(remote.serve, "127.0.0.1", 0, **more) as server:
        remote.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield remote


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    async with listening() as one:
        yield one


class Names(AbstractResolver):
    """Every name leads to one address."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def opened(clock: Clock, metrics: Metrics) -> Callable[..., object]:
    """`async with opened(timeout_s=0.1) as client`: one destination, crm, on loopback."""

    def open_(resolver: object = None, **limits: object) -> object:
        return Client.open({"crm": Limits(**{"allow_private": True, **limits})}, clock, metrics, resolver)

    return open_


async def always(request: Request) -> None:
    """The gate of tests in which everything is allowed."""


def asked(url: str, method: str = "POST", **more: object) -> Iterator[Request]:
    """A flow of one request, that returns its answer."""
    found: Response = yield Request(destination="crm", method=method, url=url, **more)
    return found
