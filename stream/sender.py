"""Posts events from JSON lines to a receiver, signed as Segment's destinations sign.

Segment docs, tray-io and actions-webhook: `X-Signature` is the hex HMAC-SHA1 of the body; of element 0 in a batch.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Iterator

import aiohttp
from msgspec import Struct, field

from stream.core import signature
from stream.errors import StreamError

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
HOPELESS = frozenset({401, 403, 404, 405})


class Target(Struct, frozen=True):
    """Where to post, and how. `attempts` counts the first one too; the pause before the second is about `pause_s`."""

    url: str
    secret: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    batch: int = 1
    concurrency: int = 8
    attempts: int = 8
    pause_s: float = 0.2


class Request(Struct, frozen=True):
    """Some lines of the file, as one body."""

    lines: tuple[int, ...]
    elements: tuple[bytes, ...]
    array: bool

    @property
    def body(self) -> bytes:
        """The bytes to post: the event as it stands in the file, or an array of them."""
        return b"[" + b",".join(self.elements) + b"]" if self.array else self.elements[0]


class Tally(Struct):
    """What became of the lines so far."""

    events: int = 0
    requests: int = 0
    repeats: int = 0
    bad: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Was every line of the file acknowledged?"""
        return not self.bad and not self.refused


class GaveUp(StreamError):
    """The receiver cannot be reached, or refuses whatever comes. Names the lines at which sending stopped."""


async def send(
    lines: Iterable[bytes], target: Target, tally: Tally, progress: Callable[[int], None] = lambda read: None
) -> None:
    """Posts every line and counts in `tally`; returns once each was acknowledged, or named there as bad or refused.

    `progress` hears how many bytes were dealt with. What the receiver asks to repeat is repeated with growing pauses;
    raises GaveUp when that does not help. Several requests are under way at once, so their order is not kept."""
    requests = _requests(lines, target.batch, tally)
    reading = asyncio.Lock()

    async def post_all() -> None:
        while True:
            async with reading:
                request = await asyncio.to_thread(next, requests, None)
            if request is None:
                return
            await _post(session, target, request, tally)
            progress(sum(map(len, request.elements)) + len(request.elements))

    timeout = aiohttp.ClientTimeout(total=30)
    headers = {"Content-Type": "application/json", "User-Agent": "stream-send/1", **dict(target.headers)}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(target.concurrency):
                    group.create_task(post_all())
        except ExceptionGroup as stopped:
            raise stopped.exceptions[0] from None


def pause(first: float, attempt: int, jitter: float, asked: float | None) -> float:
    """Seconds to wait after this attempt (counted from 1): doubling up to 5 s, and at least what the receiver asked."""
    return max(asked or 0.0, min(5.0, first * 2.0 ** (attempt - 1)) * (0.5 + jitter / 2))


def _requests(lines: Iterable[bytes], batch: int, tally: Tally) -> Iterator[Request]:
    waiting: list[tuple[int, bytes]] = []
    for number, line in enumerate(lines, 1):
        event = line.strip()
        if not event:
            continue
        if problem := _problem(event):
            tally.bad.append(f"line {number}: {problem}")
            continue
        waiting.append((number, event))
        if len(waiting) == batch:
            yield _request(waiting, batch)
            waiting = []
    if waiting:
        yield _request(waiting, batch)


def _request(waiting: list[tuple[int, bytes]], batch: int) -> Request:
    numbers, events = zip(*waiting, strict=True)
    return Request(lines=numbers, elements=events, array=batch > 1)


def _problem(event: bytes) -> str | None:
    try:
        found = json.loads(event)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        return f"not JSON that can be read: {type(error).__name__}"
    return None if isinstance(found, dict) else "not a JSON object"


async def _post(session: aiohttp.ClientSession, target: Target, request: Request, tally: Tally) -> None:
    headers = {"X-Signature": signature.sign(request.elements[0], target.secret)} if target.secret else {}
    where = _where(request)
    for attempt in range(1, target.attempts + 1):
        status, answer, asked = await _answer(session, target.url, request.body, headers)
        if 200 <= status < 300:
            tally.events += len(request.elements)
            tally.requests += 1
            return
        if status in HOPELESS or 300 <= status < 400:
            raise GaveUp(f"{target.url} refuses with {answer}; stopped at {where}")
        if status and status not in RETRIED:
            tally.refused.append(f"{where}: {answer}")
            return
        if attempt < target.attempts:
            tally.repeats += 1
            await asyncio.sleep(pause(target.pause_s, attempt, random.random(), asked))
    raise GaveUp(f"{target.url} did not take {where} in {target.attempts} attempts, the last time: {answer}")


async def _answer(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> tuple[int, str, float | None]:
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            text = (await response.text(errors="replace"))[:200].strip()
            asked = response.headers.get("Retry-After", "")
            return response.status, f"{response.status} {text}", float(asked) if asked.isdecimal() else None
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
        return 0, f"no answer ({str(error) or type(error).__name__})", None


def _where(request: Request) -> str:
    first, last = request.lines[0], request.lines[-1]
    return f"line {first}" if first == last else f"lines {first} to {last}"
