"""The app inside the test's process, all of it, with a receiver and real files; and time that runs, and can be put
forward: what waits an hour does not wait in the test."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from stream.app import App
from stream.config import Config
from tests.end_to_end.crash.posts import Event, post
from tests.end_to_end.crash.steps import running
from tests.end_to_end.destinations.site import signed

_TURN_S = 0.05


class Ahead:
    """Seconds since the epoch, as far ahead as it was put."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead

    async def passes(self, seconds: float, step: float) -> None:
        """So much time passes, in steps after each of which all that runs has a turn."""
        while seconds > 0:
            self._ahead += min(step, seconds)
            seconds -= step
            await asyncio.sleep(_TURN_S)

    async def until(self, true: Callable[[], object], step: float = 0.0, within: float = 40.0) -> None:
        """Returns once it is so; time passes meanwhile in such steps."""
        async with asyncio.timeout(within):
            while not true():
                self._ahead += step
                await asyncio.sleep(_TURN_S)


class Inside:
    """The running app, and where it listens."""

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        self._url = url

    async def post(self, *events: Event) -> None:
        """One signed request, answered 200; none without events."""
        if events:
            assert await post(self._url, *signed(events)) == 200


@asynccontextmanager
async def inside(config: Config, clock: Callable[[], float]) -> AsyncIterator[Inside]:
    """The app while the block lasts; leaving closes it, as SIGTERM does."""
    async with running(config, clock) as (app, url):
        yield Inside(app, url)
