"""Faults: what a destination may do, and one run of the real process in which each of them happens, to a destination
of its own, while that process is ended in the middle.

A minute's outage and an hour's are some seconds here; nothing that decides knows how long it will be.
"""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.brokers.parts import Parts
from tests.destination import Answer, Destination
from tests.end_to_end.destinations.people import bought, come, member, numbers, who
from tests.end_to_end.destinations.site import QUICK, Site, crm, forward, kept_port

PEOPLE = [who(number) for number in range(12)]
FAILING = who(4)
REFUSED = who(5)
RETRY_AFTER_S = 1.0
_BEFORE_S, _AFTER_S = 1.2, 1.5  # of the fault, before the process is ended and after it is there again
_TIMEOUT_S = 1.2  # of the syncs: a lease that a killed process leaves is waited for, and then what it may have sent
STAY = set(PEOPLE[::2])
WANTED = {"vip": STAY, "gold": STAY}
"""Who is to be on which list in the end."""
SENT = [1, 2, 3, 4]
"""The purchases of everybody, in order."""
_LONG_S = 60.0
_HALF = PEOPLE[::2]
_LIE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"


class Fault(Struct, frozen=True):
    """How a destination answers: these people; and until the end of the run, if it is `lasting`. `unclear`: it may have
    done what the client takes for failed. `limits`: of the client."""

    answer: Answer | None
    people: list[str] | None = None
    lasting: bool = False
    unclear: bool = False
    limits: dict[str, Any] = {}


FAULTS = {
    "down": Fault(None),
    "slow": Fault(Answer(delay=0.4)),
    "limited": Fault(Answer(status=429, headers={"Retry-After": f"{RETRY_AFTER_S}"}), limits={"concurrency": 1}),
    "keys": Fault(Answer(status=401)),
    "one": Fault(Answer(status=500), [FAILING]),
    "half": Fault(Answer(status=500), _HALF),
    "late": Fault(Answer(delay=1.0), unclear=True, limits={"timeout_s": 0.5}),
    "reset_before": Fault(Answer(ends="reset", effect="never")),
    "reset_after": Fault(Answer(ends="reset"), unclear=True),
    "refused": Fault(Answer(status=422), [REFUSED], lasting=True),
    "cut": Fault(Answer(ends="cut"), unclear=True),
    "gzip": Fault(Answer(headers={"Content-Encoding": "gzip"}, body=b"no gzip at all"), unclear=True),
    "endless": Fault(Answer(ends="endless", body=b"x" * 500), lasting=True),
    "html": Fault(Answer(headers={"Content-Type": "text/html"}, body=b"<html>Welcome"), lasting=True),
    "lie": Fault(Answer(ends="raw", body=_LIE), lasting=True),
}


class Meeting:
    """One kind of fault: the destination that the sync tells, and the one that the reactor sends to."""

    def __init__(self, name: str) -> None:
        self.name, self.fault = name, FAULTS[name]
        self.lists, self.events = Destination(), Destination()
        self._kept = (kept_port(), kept_port())
        self.ports = tuple(int(one.getsockname()[1]) for one in self._kept)
        self.over_at = float("inf")

    @property
    def processors(self) -> tuple[str, str]:
        return f"audiences.{self.name}", f"forward.{self.name}"

    @property
    def others_served(self) -> bool:
        """Has everybody but those whom it fails got all that they are to get?"""
        others = [user for user in PEOPLE if user not in (self.fault.people or ())]
        return all(
            {*numbers(self.events.events, user)} == {*SENT}
            and all(self.lists.has(name, user) == (user in members) for name, members in WANTED.items())
            for user in others
        )

    async def begin(self, stack: contextlib.AsyncExitStack) -> None:
        """The fault is there."""
        if self.fault.answer is not None:
            await self._open(stack)
            for one in (self.lists, self.events):
                one.on(self.fault.answer, self.fault.people)

    async def end(self, stack: contextlib.AsyncExitStack) -> None:
        """The fault is over, unless it is there for good."""
        self.over_at = asyncio.get_running_loop().time()
        if self.fault.answer is None:
            await self._open(stack)
        elif not self.fault.lasting:
            self.lists.rules.clear()
            self.events.rules.clear()

    async def _open(self, stack: contextlib.AsyncExitStack) -> None:
        at_lists, at_events = self.ports
        self.lists = await stack.enter_async_context(Destination.open(at_lists))
        self.events = await stack.enter_async_context(Destination.open(at_events))
        for one in self._kept:
            one.close()


class Finished(Struct, frozen=True):
    """What a run came to."""

    how: signal.Signals
    meetings: dict[str, Meeting]
    ended_at: float
    """By the loop's clock: when the process was ended in the middle."""
    again_at: float
    wrong_fates: list[str]
    held: set[tuple[str, str, str, str]]
    told: dict[str, dict[str, dict[str, str | None]]]
    said: str


async def finished(folder: Path, parts: Parts, how: signal.Signals) -> Finished:
    """Everything happens: some come, and buy, while everything is broken; the process is ended so, and started again;
    more happens; and then it is mended, as far as it can be."""
    meetings = {name: Meeting(name) for name in FAULTS}
    site = Site(folder, parts, **_sections(meetings))
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        for one in meetings.values():
            await one.begin(stack)
        async with site.running() as process:
            await site.ready()
            await process.post(*(event for user in PEOPLE for event in _first(user)))
            await asyncio.sleep(_BEFORE_S)
            ended_at = loop.time()
            await process.end(how)
            assert process.returncode == (0 if how == signal.SIGTERM else -how), site.stderr
        async with site.running() as process:
            again_at = loop.time()
            await process.post(*(event for user in PEOPLE for event in _then(user)))
            await asyncio.sleep(_AFTER_S)
            async with asyncio.timeout(_LONG_S):
                while not all(meetings[name].others_served for name in ("one", "refused")):
                    await asyncio.sleep(0.05)
            for one in meetings.values():
                await one.end(stack)
            await site.settled()
    return Finished(
        how=how,
        meetings=meetings,
        ended_at=ended_at,
        again_at=again_at,
        wrong_fates=await site.wrong_fates(),
        held={(one.processor, one.subject, one.state, one.reason) for one in await site.held()},
        told={name: {u: await site.told(name, f"user_id:{u}") for u in PEOPLE} for name in meetings},
        said=site.stderr,
    )


def _first(user: str) -> list[Any]:
    return [come(user), member(user, True, 1), bought(user, 1), bought(user, 2)]


def _then(user: str) -> list[Any]:
    back = [member(user, True, 3), member(user, True, 3, "gold")] if user in STAY else []
    return [bought(user, 3), member(user, False, 2), *back, bought(user, 4)]


def _sections(meetings: dict[str, Meeting]) -> dict[str, Any]:
    forwards = {name: forward(f"http://127.0.0.1:{one.ports[1]}", **one.fault.limits) for name, one in meetings.items()}
    return {
        "purposes": {"marketing": {"channels": ["email"], "unknown": "allow"}},
        "connectors": {
            name: crm(one.ports[0], **{"timeout_s": _TIMEOUT_S, **one.fault.limits}) for name, one in meetings.items()
        },
        "processors": {
            "profiles": {},
            "consent": {},
            "deletion": {},
            "audiences": {"destinations": [*meetings], **{name: QUICK for name in meetings}},
            "forward": forwards,
        },
    }
