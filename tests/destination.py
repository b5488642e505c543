"""A destination to send to: a real HTTP server on loopback that behaves as a mailing list's API does, or as badly as it
is told to. It remembers every request, in order, and what its lists and people look like after them.

    PUT, DELETE  /lists/LIST/members/ID      POST  /lists/LIST/members   {"add": [ID…]} or {"remove": [ID…]}
    PUT          /people/ID                  PUT   /people/ID/consents/NAME   {"value": true}
    DELETE       /people/ID (404: nobody)    POST  /events
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import Any, Literal

from aiohttp import web
from msgspec import Struct

from tests.mailing_list import MailingList, Seen

TOKEN = "t0ken-of-the-crm"
_FOR_EVER = 3_600.0


class Answer(Struct, frozen=True, kw_only=True):
    """How to answer. `effect`: does the destination do what it was asked: at once ("before" the delay), "after" the
    delay, or "never"; by default at once for a status below 400, else never. `ends`: "whole", "cut" (half of the body,
    then closed), "endless" (the body again and again), "raw" (the body is all that is written, the status line as
    well), "reset" (no byte, the connection is reset) or "hang" (no byte until the destination closes)."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b'{"ok":true}'
    delay: float = 0.0
    effect: Literal["before", "after", "never"] | None = None
    ends: Literal["whole", "cut", "endless", "raw", "reset", "hang"] = "whole"

    @property
    def takes_effect(self) -> str:
        return self.effect or ("before" if self.status < 400 else "never")


class Rule(Struct):
    """An answer to some requests: those about these people, by this method, so many times; None: all."""

    answer: Answer
    people: Collection[str] | None = None
    method: str | None = None
    times: int | None = None

    def fits(self, seen: Seen) -> bool:
        return (
            self.times != 0
            and (self.people is None or bool(set(seen.about) & set(self.people)))
            and self.method in (None, seen.method)
        )


class Destination(MailingList):
    """What runs at `url`: its state, and in `seen` what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.seen: list[Seen] = []
        self.rules: list[Rule] = []
        self.at_once = 0
        self.most_at_once = 0
        self.most_at_once_of_one = 0
        self._running: Counter[str] = Counter()
        self._closing = asyncio.Event()
        self._moved = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, port: int = 0) -> AsyncIterator["Destination"]:
        """Listens on loopback; any free port by default."""
        destination = cls()
        runner = web.ServerRunner(web.Server(destination._asked), handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
            await site.start()
            destination.port = runner.addresses[0][1]
            yield destination
        finally:
            destination._closing.set()
            await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(
        self,
        answer: Answer,
        people: Collection[str] | None = None,
        method: str | None = None,
        times: int | None = None,
    ) -> Rule:
        """Answers so from now on. Rules are asked in the order in which they were made; the first that fits answers;
        where none does, all is well. Remove one from `rules`, or clear them, to end it."""
        rule = Rule(answer, people, method, times)
        self.rules.append(rule)
        return rule

    def asked(self, method: str | None = None, about: str | None = None) -> list[Seen]:
        """What it was asked, in order: by this method, about this id."""
        return [s for s in self.seen if method in (None, s.method) and (about is None or about in s.about)]

    async def until(self, true: Callable[[], object], within: float = 30.0) -> None:
        """Returns once `true()`, which is looked at whenever a request came or was dealt with."""
        async with asyncio.timeout(within):
            while not true():
                self._moved.clear()
                await self._moved.wait()

    async def _asked(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = await _seen(request)
        self.seen.append(seen)
        rule = next((rule for rule in self.rules if rule.fits(seen)), None)
        if rule is not None and rule.times is not None:
            rule.times -= 1
        with self._counted(seen):
            return await self._answered(request, seen, rule.answer if rule else None)

    async def _answered(self, request: web.BaseRequest, seen: Seen, answer: Answer | None) -> web.StreamResponse:
        if answer is None:
            status = self.do(seen)
            return web.json_response({"ok": status < 400}, status=status)
        if answer.takes_effect == "before":
            self.do(seen)
        self._moved.set()
        if answer.delay:
            await self._wait(answer.delay)
        if answer.takes_effect == "after":
            self.do(seen)
        match answer.ends:
            case "hang":
                await self._wait(_FOR_EVER)
                _reset(request)
            case "reset":
                _reset(request)
            case "cut":
                return await _cut(request, answer)
            case "endless":
                return await _endless(request, answer)
            case "raw":
                return _raw(request, answer)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    @contextlib.contextmanager
    def _counted(self, seen: Seen) -> Iterator[None]:
        self.at_once += 1
        self._running.update(seen.about)
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.most_at_once_of_one = max(self.most_at_once_of_one, *(self._running[each] for each in seen.about), 0)
        self._moved.set()
        try:
            yield
        finally:
            self.at_once -= 1
            self._running.subtract(seen.about)
            self._moved.set()


def config(port: int, at_once: int = 1, **more: Any) -> dict[str, Any]:
    """The table [connectors.crm] for the destination at this port; `at_once` members in one request."""
    url = f"http://127.0.0.1:{port}"
    member = f"{url}/lists/{{$.name}}/members"
    one = {
        "true": {"method": "PUT", "url": f"{member}/{{$.id}}"},
        "false": {"method": "DELETE", "url": f"{member}/{{$.id}}"},
    }
    many = {
        "at_once": at_once,
        "true": {"url": member, "body": {"add": {"$each": "$.id"}}},
        "false": {"url": member, "body": {"remove": {"$each": "$.id"}}},
    }
    person = f"{url}/people/{{$.id}}"
    return {
        "connector": "webhook",
        "kinds": ["email"],
        "allow_private": True,
        "bearer": TOKEN,
        "upsert_profile": {"method": "PUT", "url": person, "body": "$.value"},
        "set_membership": one if at_once == 1 else many,
        "set_consent": {"method": "PUT", "url": f"{person}/consents/{{$.name}}", "body": {"value": "$.value"}},
        "delete_person": {"method": "DELETE", "url": person},
        "send_event": {"url": f"{url}/events", "body": "$.event"},
        **more,
    }


async def _seen(request: web.BaseRequest) -> Seen:
    body = await request.read()
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Seen(request.method, request.raw_path, headers, body, asyncio.get_running_loop().time())


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is not None:
        plug = transport.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # so that closing sends RST
        transport.abort()


async def _cut(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    length = {"Content-Length": str(len(answer.body) * 2 + 2)}
    response = web.StreamResponse(status=answer.status, headers={**answer.headers, **length})
    await response.prepare(request)
    await response.write(answer.body)
    if request.transport is not None:
        request.transport.close()
    return response


async def _endless(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while request.transport is not None and not request.transport.is_closing():
            await response.write(answer.body * 1_000)
            await asyncio.sleep(0.01)
    return response


def _raw(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.write(answer.body)
        request.transport.close()
    return web.Response()
