"""Steps: the client of a scenario. Steps that were done are not done again by the process that goes on; one that was
cut off is, as Segment would repeat a request that was not answered."""

import asyncio
import shutil
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import msgspec

from stream import config
from stream.app import App
from stream.config import Config
from stream.core.signature import sign
from tests.brokers.parts import FILES, Parts, toml
from tests.embedded import Clock
from tests.end_to_end.crash.outcome import unsettled
from tests.end_to_end.crash.posts import Event, post

START = 1_700_000_000.0
SECRET = "crash-test-secret"
_PATIENCE_S = 60.0
_PATIENT = 3  # looks at whether something is so, before time moves on

SITE, CLOCK, DONE = "site", "clock", "done"

Step = tuple[str, Callable[[], Awaitable[None]]]


def site(folder: Path, named: str = SITE, parts: Parts = FILES) -> Config:
    """The configuration in the folder; put there, with its processors, if it is not."""
    put(folder, named)
    file = folder / "stream.toml"
    file.write_text(toml(parts.sections(tomllib.loads(file.read_text()))))
    return config.load(file)


def put(folder: Path, named: str) -> None:
    """Copies a site to the folder, unless it is there."""
    if not folder.exists():
        shutil.copytree(Path(__file__).parent / named, folder, ignore=shutil.ignore_patterns("__pycache__"))


def clock_of(folder: Path) -> Clock:
    """Time as the last process left it."""
    kept = folder / CLOCK
    return Clock(float(kept.read_text()) if kept.exists() else START)


def done(folder: Path) -> list[str]:
    """The steps and requests of the client that were acknowledged, by name."""
    noted = folder / DONE
    return noted.read_text().split() if noted.exists() else []


class Steps:
    """The client of one run of the app: takes the steps that are not done yet. Coroutines named client… are not the
    app's."""

    moves: ClassVar[bool] = False
    """Does time move on while it waits? What is due later needs that. It stands still otherwise."""
    step_s: ClassVar[float] = 10.0
    """From one step to the next."""

    def __init__(self, folder: Path, app: App, clock: Clock, url: str) -> None:
        self.app, self.clock, self.store = app, clock, app.around.store
        self._folder = folder
        self._url = url

    def steps(self) -> Sequence[Step]:
        """What to do, in order, by name."""
        raise NotImplementedError

    async def client_steps(self) -> None:
        """All steps, then until everything is settled."""
        for number, (name, step) in enumerate(self.steps()):
            self._move(max(self.clock.now, START + number * self.step_s))
            if name not in self.done():
                await step()
                self._note(name)
        await self.until(self.settled, "all is settled")

    def done(self) -> list[str]:
        """See done()."""
        return done(self._folder)

    @property
    def acknowledged(self) -> list[str]:
        """The messageIds of what was answered 200."""
        return [name for step in self.done() for name in step.split("+") if name[1] == "-"]

    def _move(self, now: float) -> None:
        self.clock.now = now
        if self.moves:
            (self._folder / CLOCK).write_text(repr(now))

    def _note(self, name: str) -> None:
        with (self._folder / DONE).open("a") as file:
            file.write(f"{name}\n")

    async def posted(self, *bodies: Event | list[Event]) -> None:
        """Posts at the same time what has not been answered yet."""
        names = ["+".join(e["messageId"] for e in (b if isinstance(b, list) else [b])) for b in bodies]
        left = [(name, body) for name, body in zip(names, bodies, strict=True) if name not in self.done()]
        await asyncio.gather(*(self._client_post(name, body) for name, body in left))

    async def _client_post(self, name: str, body: Event | list[Event]) -> None:
        first = msgspec.json.encode(body[0] if isinstance(body, list) else body)
        status = await post(self._url, msgspec.json.encode(body), sign(first, SECRET))
        assert status == 200, f"{name} was answered {status}"
        self._note(name)

    async def asked_of_held(self, processor: str, kind: str, *subjects: str) -> None:
        """Has the running process do this with what is dead about them."""
        page = await self.store.held.page(processor, state="dead")
        await asyncio.gather(*(self.client_ask(kind, {"id": held.id}) for held in page if held.subject in subjects))

    async def client_ask(self, kind: str, args: dict[str, Any]) -> None:
        """As a command does, and waits until it is carried out."""
        number = await self.store.requests.ask(kind, args, "test", self.clock())

        async def done() -> bool:
            found = await self.store.requests.get(number)
            return found is not None and found.done is not None

        await self.until(done, f"{kind} is carried out")

    async def settled(self) -> bool:
        """Is nothing left to do?"""
        return not await self.left()

    async def left(self) -> list[str]:
        """What is."""
        return await unsettled(self.app.around.log, self.store, self.app.worker.projections)

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Waits until it is so."""
        ends = monotonic() + _PATIENCE_S  # not the loop's time, most of which is skipped
        looks = 0
        while not await condition():
            if monotonic() > ends:
                raise AssertionError(f"waited for {_PATIENCE_S} s until {what}; left: {await self.left()}")
            await asyncio.sleep(0.1)
            looks += 1
            if self.moves and looks % _PATIENT == 0:
                self._move(self.clock.now + 1.0)


@asynccontextmanager
async def running(config: Config, clock: Callable[[], float]) -> AsyncIterator[tuple[App, str]]:
    """The app while the block lasts, and its URL. Leaving closes it, as SIGTERM does."""
    listens: asyncio.Future[tuple[App, str]] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with App.open(config, clock=clock) as app:
            await app.run(lambda url: listens.set_result((app, url or "")))

    serving = asyncio.create_task(serve())
    await asyncio.wait([serving, listens], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    try:
        yield listens.result()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    if not serving.cancelled():
        serving.result()
