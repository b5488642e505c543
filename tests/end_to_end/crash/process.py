"""`stream run` as a process of its own, and a client that repeats what was not answered, as Segment does."""

import asyncio
import json
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from time import monotonic

import msgspec

from stream.building import build
from stream.config import Config
from stream.core.signature import sign
from stream.log import Log
from stream.log.opening import looked_at
from stream.store import Store
from tests.end_to_end.crash.outcome import unsettled
from tests.end_to_end.crash.posts import Event, bought, identify, post, track

ROOT = Path(__file__).parents[3]
_LANES = 8
_BEFORE = "2023-01-01T00:00:00Z"  # any delete: a repeat after it brings nobody back
_PATIENCE_S = 60.0


def command(folder: Path) -> list[str]:
    """The words of `stream run` on the folder's configuration."""
    return [sys.executable, "-m", "stream", "--config", str(folder / "stream.toml"), "run", "--json"]


@contextmanager
def stream_run(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process, once it listens, and its URL. What it says on stderr is kept in the folder; killed on leaving."""
    with (folder / "stderr").open("a") as errors:
        process = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "stderr").read_text()
            yield process, json.loads(line)["receiver"]
        finally:
            process.kill()


@asynccontextmanager
async def looking(config: Config) -> AsyncIterator[tuple[Log, Store]]:
    """Log and store as another process sees them."""
    async with looked_at(config) as log, Store.open(config.store, config.identity) as store:
        yield log, store


async def settled(config: Config) -> None:
    """Waits until the running process has dealt with everything."""
    projections = build(config).projections
    ends = monotonic() + _PATIENCE_S
    async with looking(config) as (log, store):
        while left := await unsettled(log, store, projections):
            assert monotonic() < ends, f"not settled after {_PATIENCE_S} s: {left}"
            await asyncio.sleep(0.05)


class Client:
    """Posts what `more` gave it to post, several requests at once; what was not answered 200 stays to be posted."""

    def __init__(self, random: Random) -> None:
        self.acknowledged: list[str] = []
        self.waiting: deque[Event | list[Event]] = deque()
        self.deleted: set[str] = set()
        self._random = random
        self._events = 0

    def more(self, requests: int, deletes: int = 0) -> None:
        """Events of some users, alone and in batches; and users that come, buy and are deleted."""
        for _ in range(requests):
            events = [self._event() for _ in range(self._random.choice((1, 1, 1, 5, 20)))]
            self.waiting.append(events if len(events) > 1 else events[0])
        for _ in range(deletes):
            user = f"gone-{self._number()}"
            self.deleted.add(f"user:{user}")
            came = identify(self._number(), user, {"plan": "free"}, timestamp=_BEFORE)
            self.waiting.append([came, {**bought(self._number(), user, 3), "timestamp": _BEFORE}])
            self.waiting.append({"type": "delete", "messageId": self._number(), "userId": user})

    async def post(self, url: str, until: int = sys.maxsize, then: Callable[[], None] = lambda: None) -> None:
        """Posts until nothing waits or nobody answers. Calls `then` once after that many acknowledgements."""
        enough, calls = len(self.acknowledged) + until, [then]  # a second signal might find nobody to handle it
        await asyncio.gather(*(self._lane(url, enough, calls) for _ in range(_LANES)))

    async def _lane(self, url: str, enough: int, calls: list[Callable[[], None]]) -> None:
        while self.waiting:
            body = self.waiting.popleft()
            events = body if isinstance(body, list) else [body]
            signature = sign(msgspec.json.encode(events[0]), "crash-test-secret")
            try:
                status = await post(url, msgspec.json.encode(body), signature)
            except OSError:
                self.waiting.appendleft(body)  # so soon that profiles still remembers it
                return
            assert status == 200, status
            self.acknowledged += [event["messageId"] for event in events]
            if len(self.acknowledged) >= enough and calls:
                calls.pop()()

    def _event(self) -> Event:
        user = f"u{self._random.randrange(8)}"
        match self._random.randrange(4):
            case 0:
                return identify(self._number(), user, {"n": self._random.randrange(9)}, anonymousId=f"a-{user}")
            case 1:
                return bought(self._number(), user, self._random.randrange(1, 50))
            case 2:
                return track(self._number(), "Viewed", anonymousId=f"a-{user}")
            case _:
                return {"type": "page", "messageId": self._number(), "userId": user, "name": "Home"}

    def _number(self) -> str:
        self._events += 1
        return f"m-{self._events}"
