"""A small history with all of it: requests and a batch, links, traits, an audience, consents, a group, deaths and their
errands, a delete, a person who returns, one who is forgotten."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from stream import headers, topics
from stream.app import App
from stream.message import Message
from tests.embedded import Clock
from tests.end_to_end.crash.posts import bought, consent, identify, track
from tests.end_to_end.crash.steps import Step, Steps

PEOPLE = {
    "ann": ("user:ann", "anon:a1"),
    "bob": ("user:bob",),
    "carl": ("user:carl", "anon:c1", "anon:c2", "user:c3", "anon:c3"),
    "dan": ("user:dan",),
    "eve": ("user:eve", "anon:e1"),
    "club": ("group:g1",),
}


class Scenario(Steps):
    """The client of the history."""

    def __init__(self, folder: Path, app: App, clock: Clock, url: str, retries: bool = True) -> None:
        super().__init__(folder, app, clock, url)
        self._retries = retries  # what is held is tried again, and dropped

    def steps(self) -> Sequence[Step]:
        steps = [
            ("burst", lambda: self.posted(*_BURST)),
            ("batch", lambda: self.posted(_BATCH)),
            ("carl", lambda: self.posted(*_CARL)),
            ("facts", lambda: self.posted(*_FACTS)),
            ("old", self._appended_by_an_older_version),
            ("again", lambda: self._asked_of_invalid()),
            ("broken", lambda: self.posted(*_BROKEN)),
            ("held", lambda: self.until(self._holds, "what is broken is held")),
            ("mend", self._mended),
            ("retry", lambda: self.asked_of_held("purchases", "held.retry", "user:bob", "user:dan")),
            ("drop", lambda: self.asked_of_held("purchases", "held.drop", "user:ann")),
            ("resume", lambda: self.client_ask("resume", {"processor": "profiles"})),
            ("delete", lambda: self.posted(_DELETE)),
            ("deleted", lambda: self.until(self._forgotten, "the delete is done")),
            ("return", lambda: self.posted(*_RETURN)),
            ("forget", lambda: self.client_ask("forget", {"userId": "eve"})),
            ("forgotten", lambda: self.until(self._forgotten, "the person is forgotten")),
            ("last", lambda: self.posted(*_LAST)),
        ]
        return [step for step in steps if self._retries or step[0] not in ("mend", "retry", "drop")]

    async def _appended_by_an_older_version(self) -> None:
        """A message in segment.invalid that is an event by now."""
        known = {headers.SOURCE: "segment", headers.RECEIVED: f"{self.clock():.6f}", headers.PATH: "destination"}
        given = tuple((name, value.encode()) for name, value in {**known, headers.REASON: "unknown_type"}.items())
        value = msgspec.json.encode(track("old-1", "Viewed", userId="bob"))
        await self.app.around.log.append([Message(topics.INVALID, b"old", value, given)])

    async def _asked_of_invalid(self) -> None:
        async for kept in self.app.around.log.read(topics.INVALID):
            args = {"part": kept.partition.number, "offset": kept.offset, "time": kept.time}
            await self.client_ask("invalid.retry", args)

    async def _mended(self) -> None:
        for held in await self.store.held.page("purchases"):
            if held.subject == "user:bob":
                event = msgspec.json.decode(held.delivery.message.value or b"{}")
                event["properties"]["amount"] = 11
                await self.store.held.edit(held.id, msgspec.json.encode(event))

    async def _holds(self) -> bool:
        return {held.subject for held in await self.store.held.page("purchases")} >= {
            "user:bob",
            "user:dan",
            "user:ann",
        }

    async def _forgotten(self) -> bool:
        found = await self.store.deletions.every()
        return bool(found) and all(one.state == "done" for one in found) and await self.settled()


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
