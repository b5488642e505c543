"""Destination: one remote API, with its connections, its slots, and what it answered."""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from time import perf_counter

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientHandlerType,
    ClientOSError,
    ClientPayloadError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver
from msgspec import Struct
from yarl import URL

from stream.connector import Limits, Request, Response
from stream.core.bucket import Rate
from stream.errors import Outcome, Refused
from stream.http import body, verdict
from stream.http.addresses import public_socket
from stream.http.performer import Allow
from stream.http.slots import Slots
from stream.telemetry import Metrics

_MOST_REDIRECTS = 3
_NEVER_AGAIN = ("POST", "PATCH")  # what aiohttp sends once, whatever happens
_MOST_AT_ONCE = 1024 * 1024  # bytes that aiohttp writes in one piece without a warning


class Around(Struct, frozen=True):
    """What all destinations of a process share."""

    clock: Callable[[], float]
    metrics: Metrics
    agent: str
    resolver: AbstractResolver | None = None


class Destination:
    """Asks one remote API, within its limits."""

    @classmethod
    @asynccontextmanager
    async def open(cls, name: str, limits: Limits, around: Around) -> AsyncIterator["Destination"]:
        """Its connections are its own, and closed on leaving."""
        slots = Slots(limits.concurrency, [Rate.parse(rate) for rate in limits.rates], around.clock)
        connector = TCPConnector(
            limit=0,  # the slots are the limit: nobody waits inside the timeout
            resolver=around.resolver,
            socket_factory=None if limits.allow_private else public_socket,
        )
        async with ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=limits.timeout_s, ceil_threshold=inf),
            headers={"User-Agent": around.agent, "Accept-Encoding": "identity"},
            auto_decompress=False,  # body.py inflates, within the bound
        ) as session:
            try:
                yield cls(name, limits, (session, slots), around)
            finally:
                slots.close()

    def __init__(self, name: str, limits: Limits, parts: tuple[ClientSession, Slots], around: Around) -> None:
        self._session, self._slots = parts
        self._most = limits.max_response_bytes
        self._clock = around.clock
        self._seconds = around.metrics.request_seconds.labels(name)
        self._count = partial(around.metrics.requests_sent.labels, name)

    async def ask(self, request: Request, allow: Allow, rank: int) -> Response:
        """The answer, if it is below 300. Raises what `allow` raises, Retry, Dead, and Refused."""
        url: str | URL = request.url
        for _ in range(1 + _MOST_REDIRECTS):
            answer, asked = await self._ask_once(request, url, allow, rank)
            target = _redirected(answer, asked)
            if target is None:
                return verdict.judge(answer, self._clock())
            url = target
        raise Refused(answer.status)

    async def _ask_once(self, request: Request, url: str | URL, allow: Allow, rank: int) -> tuple[Response, URL]:
        unused: float | None = await self._slots.take(rank)
        try:
            await allow(request)
            unused = None
            answer, asked = await self._measured(request, url)
            if pause := verdict.pause(answer, self._clock()):
                self._slots.pause(pause)
            return answer, asked
        finally:
            self._slots.release(rank, unused)

    async def _measured(self, request: Request, url: str | URL) -> tuple[Response, URL]:
        began, outcome = perf_counter(), "cancelled"
        try:
            answer, asked = await self._exchange(request, url)
            outcome = f"http_{answer.status}"
            return answer, asked
        except Outcome as error:
            outcome = error.reason
            raise
        finally:
            self._seconds.observe(perf_counter() - began)
            self._count(outcome).inc()

    async def _exchange(self, request: Request, url: str | URL) -> tuple[Response, URL]:
        data = request.body
        large = data is not None and len(data) > _MOST_AT_ONCE
        try:
            async with self._session.request(
                request.method,
                url,
                headers=request.headers,
                data=io.BytesIO(data) if large and data else data,
                allow_redirects=False,
                middlewares=() if request.method in _NEVER_AGAIN else (_once,),
            ) as response:
                return await self._answer(response), response.url
        except (ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise verdict.failure(error) from None

    async def _answer(self, response: ClientResponse) -> Response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            text, cut = await body.read(response, self._most)
        except ClientPayloadError:
            if response.status < 300:
                raise
            text, cut = b"", True  # the status says enough
        return Response(status=response.status, headers=headers, body=text, cut=cut)


async def _once(request: ClientRequest, call: ClientHandlerType) -> ClientResponse:
    """aiohttp sends PUT, DELETE and others again by itself when a kept connection turns out to be gone, although the
    first may have arrived. Nothing goes out twice without being allowed twice: whoever asked decides."""
    try:
        return await call(request)
    except ClientConnectorError:
        raise
    except (ClientOSError, ServerDisconnectedError) as error:
        raise verdict.failure(error) from None


def _redirected(answer: Response, asked: URL) -> URL | None:
    """Where to send the same again: only where the method and the body stay what they were, and at the same origin."""
    if answer.status not in (307, 308) or "location" not in answer.headers:
        return None
    try:
        target = asked.join(URL(answer.headers["location"]))
        return target if target.origin() == asked.origin() else None
    except ValueError:
        return None
