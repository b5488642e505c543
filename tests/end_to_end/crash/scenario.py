"""A small history with all of it: requests and a batch, links, traits, an audience, consents, a group, deaths and their
errands, a delete, a person who returns, one who is forgotten. Steps that were done are not done again; one that was cut
off is, as Segment would repeat a request that was not answered."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from stream import config, headers, topics
from stream.app import App
from stream.config import Config
from stream.core.signature import sign
from stream.message import Message
from tests.embedded import Clock
from tests.end_to_end.crash.outcome import unsettled
from tests.end_to_end.crash.posts import Event, bought, consent, identify, post, track

SITE = Path(__file__).parent / "site"
START = 1_700_000_000.0
STEP_S = 10.0
_PATIENCE_S = 30.0

PEOPLE = {
    "ann": ("user:ann", "anon:a1"),
    "bob": ("user:bob",),
    "carl": ("user:carl", "anon:c1", "anon:c2", "user:c3", "anon:c3"),
    "dan": ("user:dan",),
    "eve": ("user:eve", "anon:e1"),
    "club": ("group:g1",),
}
DELETED = ("carl", "eve")


def site(folder: Path) -> Config:
    """The configuration in the folder; put there, with its processor, if it is not."""
    if not folder.exists():
        shutil.copytree(SITE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return config.load(folder / "stream.toml")


class Scenario:
    """The client of one run of the app: takes the steps that are not done yet."""

    def __init__(self, folder: Path, app: App, clock: Clock, url: str, retries: bool = True) -> None:
        self._done = folder / "done"
        self._app, self._clock, self._store = app, clock, app.around.store
        self._url = url
        self._retries = retries  # what is held is tried again, and dropped

    async def client_steps(self) -> None:
        """All steps, then until everything is settled. Coroutines named client… are not the app's."""
        for number, (name, step) in enumerate(self._steps()):
            self._clock.now = max(self._clock.now, START + number * STEP_S)
            if name not in self.done():
                await step()
                self._note(name)
        await self._until(self._settled, "all is settled")

    def done(self) -> list[str]:
        """The steps and requests that were acknowledged, by name."""
        return self._done.read_text().split() if self._done.exists() else []

    def _note(self, name: str) -> None:
        with self._done.open("a") as file:
            file.write(f"{name}\n")

    def _steps(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        steps = [
            ("burst", lambda: self._posted(*_BURST)),
            ("batch", lambda: self._posted(_BATCH)),
            ("carl", lambda: self._posted(*_CARL)),
            ("facts", lambda: self._posted(*_FACTS)),
            ("old", self._appended_by_an_older_version),
            ("again", lambda: self._asked_of_invalid()),
            ("broken", lambda: self._posted(*_BROKEN)),
            ("held", lambda: self._until(self._holds, "what is broken is held")),
            ("mend", self._mended),
            ("retry", lambda: self._asked_of_held("held.retry", "user:bob", "user:dan")),
            ("drop", lambda: self._asked_of_held("held.drop", "user:ann")),
            ("resume", lambda: self._client_ask("resume", {"processor": "profiles"})),
            ("delete", lambda: self._posted(_DELETE)),
            ("deleted", lambda: self._until(self._forgotten, "the delete is done")),
            ("return", lambda: self._posted(*_RETURN)),
            ("forget", lambda: self._client_ask("forget", {"userId": "eve"})),
            ("forgotten", lambda: self._until(self._forgotten, "the person is forgotten")),
            ("last", lambda: self._posted(*_LAST)),
        ]
        return [step for step in steps if self._retries or step[0] not in ("mend", "retry", "drop")]

    async def _posted(self, *bodies: Event | list[Event]) -> None:
        """Posts at the same time what has not been answered yet."""
        names = ["+".join(e["messageId"] for e in (b if isinstance(b, list) else [b])) for b in bodies]
        left = [(name, body) for name, body in zip(names, bodies, strict=True) if name not in self.done()]
        await asyncio.gather(*(self._client_post(name, body) for name, body in left))

    async def _client_post(self, name: str, body: Event | list[Event]) -> None:
        first = msgspec.json.encode(body[0] if isinstance(body, list) else body)
        status = await post(self._url, msgspec.json.encode(body), sign(first, "crash-test-secret"))
        assert status == 200, f"{name} was answered {status}"
        self._note(name)

    async def _appended_by_an_older_version(self) -> None:
        """A message in segment.invalid that is an event by now."""
        known = {headers.SOURCE: "segment", headers.RECEIVED: f"{self._clock():.6f}", headers.PATH: "destination"}
        given = tuple((name, value.encode()) for name, value in {**known, headers.REASON: "unknown_type"}.items())
        value = msgspec.json.encode(track("old-1", "Viewed", userId="bob"))
        await self._app.around.log.append([Message(topics.INVALID, b"old", value, given)])

    async def _asked_of_invalid(self) -> None:
        async for kept in self._app.around.log.read(topics.INVALID):
            args = {"part": kept.partition.number, "offset": kept.offset, "time": kept.time}
            await self._client_ask("invalid.retry", args)

    async def _mended(self) -> None:
        for held in await self._store.held.page("purchases"):
            if held.subject == "user:bob":
                event = msgspec.json.decode(held.delivery.message.value or b"{}")
                event["properties"]["amount"] = 11
                await self._store.held.edit(held.id, msgspec.json.encode(event))

    async def _asked_of_held(self, kind: str, *subjects: str) -> None:
        page = await self._store.held.page("purchases")
        await asyncio.gather(*(self._client_ask(kind, {"id": held.id}) for held in page if held.subject in subjects))

    async def _client_ask(self, kind: str, args: dict[str, Any]) -> None:
        number = await self._store.requests.ask(kind, args, "test", self._clock())

        async def done() -> bool:
            found = await self._store.requests.get(number)
            return found is not None and found.done is not None

        await self._until(done, f"{kind} is carried out")

    async def _holds(self) -> bool:
        return {held.subject for held in await self._store.held.page("purchases")} >= {
            "user:bob",
            "user:dan",
            "user:ann",
        }

    async def _forgotten(self) -> bool:
        found = await self._store.deletions.every()
        return bool(found) and all(one.state == "done" for one in found) and await self._settled()

    async def _settled(self) -> bool:
        return not await unsettled(self._app.around.log, self._store, self._app.worker.projections)

    async def _until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        ends = monotonic() + _PATIENCE_S  # not the loop's time, most of which is skipped
        while not await condition():
            if monotonic() > ends:
                left = await unsettled(self._app.around.log, self._store, self._app.worker.projections)
                raise AssertionError(f"waited for {_PATIENCE_S} s until {what}; left: {left}")
            await asyncio.sleep(0.1)


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


_AUDIENCE = {"computation_class": "audience", "computation_key": "vip", "space_id": "spa_1", "computation_id": "aud_1"}
_BURST = (
    track("t-1", "Viewed", anonymousId="a1"),
    {"type": "page", "messageId": "p-1", "anonymousId": "a1", "name": "Home"},
    bought("t-2", "ann", 5),
)
_BATCH = [
    identify("i-1", "ann", {"plan": "free"}, anonymousId="a1"),
    bought("t-3", "ann", 7),
    bought("t-4", "bob", 2),
    {"type": "group", "messageId": "g-1", "userId": "bob", "groupId": "g1", "traits": {"name": "Club"}},
]
_CARL = (
    track("t-5", "Viewed", anonymousId="c1"),
    identify("i-2", "carl", {"email": "carl@example.com"}, anonymousId="c1"),
    bought("t-6", "carl", None),
)
_FACTS = (
    identify("i-3", "ann", {"vip": True}, context={"personas": _AUDIENCE}),
    consent("t-7", True, userId="bob"),
    consent("t-12", True, userId="ann"),
    consent("t-13", False, anonymousId="a1"),
    identify("i-4", "eve", {"plan": "gold"}, anonymousId="e1"),
)
_BROKEN = (bought("t-8", "bob", None), bought("t-9", "dan", None), bought("t-10", "ann", None))
_DELETE = {"type": "delete", "messageId": "d-1", "userId": "carl"}
_RETURN = (
    identify("i-5", "carl", {"plan": "new"}, anonymousId="c1"),
    track("t-11", "Viewed", anonymousId="c1"),
    identify("i-7", "carl", {"plan": "old"}, anonymousId="c2", timestamp="2023-11-14T22:13:30Z"),
    {"type": "alias", "messageId": "a-1", "userId": "carl", "previousId": "c3", "timestamp": "2023-11-14T22:13:30Z"},
)
_LAST = (
    identify("i-6", "bob", {"plan": "pro"}),
    consent("t-14", True, userId="ann"),  # said before, but a1 said otherwise
)
