"""A small history of acting: people who enter audiences, opt out, sign up, are deleted and return, at a destination
that fails for some of them, loses an answer, and is mended in the end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from stream import lag
from stream.app import App
from stream.store.database import Transaction
from tests.destination import Answer
from tests.embedded import Clock
from tests.end_to_end.crash.posts import Event, consent, identify, track
from tests.end_to_end.crash.recorded import Recorded
from tests.end_to_end.crash.steps import Step, Steps

Condition = Callable[[], Awaitable[bool]]

SITE = "site_acting"
CRM, COPY = "audiences.crm", "forward.copy"
PEOPLE = {name: (f"user:{name}",) for name in ("ann", "bob", "carl", "dan", "eve", "fay", "gus", "hal")}

NOTHING: Mapping[str, tuple[str, str]] = {"bob": ("", "grant"), "fay": ("opted", "never"), "carl": ("gone", "return")}
"""To whom nothing may be given from the one step on until the other one begins."""

ORDER = ("s-dan", "s-more", "s-last")
"""Of one person: they arrive in the order in which they came."""

DROPPED = ("welcome", "s-eve")
"""Let go; where a cut had it posted twice, the second one is sent."""

_WRONG, _DOWN = Answer(status=400), Answer(status=500)
_LOST = Answer(effect="before", ends="reset")


class Acting(Steps):
    """The client of the history."""

    moves = True
    step_s = 0.5

    def __init__(self, folder: Path, app: App, clock: Clock, url: str, destination: Recorded) -> None:
        super().__init__(folder, app, clock, url)
        self._destination = destination
        if "known" in self.done() and "mended" not in self.done():
            self._break()

    def steps(self) -> Sequence[Step]:
        return [
            ("joined", lambda: self.until(self._joined, "all processors run, and each sync has walked")),
            ("people", lambda: self.posted(_PEOPLE)),
            ("known", self._known),
            ("bad", lambda: self.posted(_BAD)),
            ("badly", lambda: self.until(self._holds("consent", "hal"), "nobody can tell what they said")),
            ("enter", lambda: self.posted(*(_audience(f"e-{who}", who, True) for who in _MEMBERS))),
            ("entered", lambda: self.until(self._held(CRM, "dan", "gus"), "those who fail are held")),
            ("sign", lambda: self.posted(_SIGNED)),
            ("signed", lambda: self.until(self._held(COPY, "carl", "dan", "fay"), "those who fail are held")),
            ("dies", lambda: self.until(self._holds("welcome", "eve"), "who is wrong is dead")),
            ("again", lambda: self.asked_of_held(COPY, "held.retry", "user:eve")),
            ("more", lambda: self.posted(_signed("s-more", "dan"))),
            ("leave", lambda: self.posted(_audience("x-gus", "gus", False), consent("c-fay", False, userId="fay"))),
            ("opted", self._noticed),
            ("delete", lambda: self.posted({"type": "delete", "messageId": "d-carl", "userId": "carl"})),
            ("gone", self._noticed),
            ("late", lambda: self.posted(_LATE)),
            ("mended", self._mended),
            ("let", lambda: self.asked_of_held("consent", "held.drop", "user:hal")),
            ("retry", lambda: self.asked_of_held(COPY, "held.retry", "user:eve")),
            ("drop", lambda: self.asked_of_held("welcome", "held.drop", "user:eve")),
            ("deleted", lambda: self.until(self.settled, "all is sent, and deleted")),
            ("grant", lambda: self.posted(consent("c-bob", True, userId="bob"))),
            ("return", lambda: self.posted(_RETURN)),
            ("look", lambda: self.client_ask("sync", {"processor": CRM, "person": "user:ann", "everything": True})),
            ("walk", lambda: self.client_ask("sync", {"processor": CRM, "everything": True})),
            ("walks", lambda: self.client_ask("sync", {"processor": "consent.crm"})),
            ("last", lambda: self.posted(_audience("x-ann", "ann", False), _signed("s-last", "dan"))),
        ]

    async def left(self) -> list[str]:
        """Of runners too, what their lanes hold, and walks."""
        found = await super().left()
        log, store = self.app.around.log, self.store
        readers = [lag.Reader(one.name, one.actor.topics, from_end=True) for one in self.app.worker.runners.values()]
        behind = await lag.measure(log, await store.positions.all(), readers)
        found += [f"{one.processor} is {one.behind} behind" for one in behind if one.behind]

        async def read(tx: Transaction) -> list[str]:
            lanes = await tx.all("SELECT processor, lane, reason FROM lanes")
            walks = await tx.all("SELECT processor, after FROM walks WHERE state = 'open'")
            leased = await tx.all("SELECT address, thing FROM confirmed WHERE lease IS NOT NULL")
            every = {"lane": lanes, "walk": walks, "lease": leased}
            return [f"{what} {one}" for what, rows in every.items() for one in rows]

        return found + await store.db.reading(read)

    async def _joined(self) -> bool:
        walked = await self.store.db.reading(
            lambda tx: tx.all("SELECT DISTINCT processor FROM walks WHERE state = 'done'")
        )
        owns = [runner.owns_something for runner in self.app.worker.runners.values()]
        return all(owns) and len(walked) == len(self.app.walkers)

    async def _known(self) -> None:
        await self.until(self.settled, "they are known")
        self._break()

    def _held(self, processor: str, *names: str) -> Condition:
        async def held() -> bool:
            found = await self.store.db.reading(
                lambda tx: tx.all("SELECT lane FROM lanes WHERE processor = ?", processor)
            )
            return {lane.removeprefix("user:") for (lane,) in found} >= set(names)

        return held

    def _holds(self, processor: str, name: str) -> Condition:
        async def holds() -> bool:
            return f"user:{name}" in {held.subject for held in await self.store.held.page(processor)}

        return holds

    async def _noticed(self) -> None:
        """Every projection has dealt with everything; and what had been allowed by then has arrived."""

        async def noticed() -> bool:
            positions = await self.store.positions.all()
            lags = await lag.measure(self.app.around.log, positions, lag.readers(self.app.worker.projections))
            return not any(one.behind for one in lags)

        await self.until(noticed, "the projections know")
        for _ in range(10):  # of idle time
            await asyncio.sleep(0.1)

    def _break(self) -> None:
        on = self._destination.on
        on(_DOWN, people=["dan@b.c", "dan", "fay", "carl"])
        on(_WRONG, people=["eve"])
        on(_DOWN, people=["carl@b.c"], method="DELETE")
        if not self._destination.has("vip", "gus@b.c"):
            on(_LOST, people=["gus@b.c"], method="PUT", times=1)
        on(_DOWN, people=["gus@b.c"], method="PUT")

    async def _mended(self) -> None:
        self._destination.rules.clear()


def _email(name: str) -> str:
    return "ann@b.c" if name == "hal" else f"{name}@b.c"  # these two share one


def _person(name: str, agrees: bool) -> Event:
    said = {"consent": {"categoryPreferences": {"Advertising": agrees}}}
    return identify(f"i-{name}", name, {"email": _email(name)}, context=said)


def _audience(message_id: str, user: str, member: bool) -> Event:
    about = {"computation_class": "audience", "computation_key": "vip", "space_id": "spa_1", "computation_id": "aud_1"}
    return identify(message_id, user, {"vip": member}, context={"personas": about})


def _signed(message_id: str, user: str) -> Event:
    return track(message_id, "Signed Up", userId=user, properties={"email": _email(user)})


_PEOPLE = [_person(name, agrees=name != "bob") for name in PEOPLE]
_MEMBERS = ("ann", "bob", "carl", "dan", "fay", "gus")
_SIGNED = [_signed(f"s-{name}", name) for name in ("bob", "carl", "dan", "eve", "fay", "gus")] + [
    _signed("s-eve2", "eve")
]
_BAD = track("c-hal", "Segment Consent Preference Updated", userId="hal")
_LATE = identify("l-carl", "carl", {"email": "old@b.c"}, timestamp="2023-11-14T22:13:20Z")
_RETURN = {**_person("carl", agrees=True), "messageId": "r-carl"}
