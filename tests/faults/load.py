"""Load: people of whom one thing after the other is told, each until it is acknowledged."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.end_to_end.crash.posts import Event, bought, identify, post, track
from tests.end_to_end.destinations.site import signed

_PATIENCE_S = 90.0
_PACE_S = 0.25
_MORE = 3


class Load:
    """Each person has a receiver of their own, since order is promised per person and receiver."""

    def __init__(self, receivers: Sequence[str], people: int = 8) -> None:
        self.done = {f"u{number}": 0 for number in range(people)}
        """By person, how many of their events were acknowledged."""
        self.answers: dict[str, set[int]] = defaultdict(set)
        """By receiver, the statuses that it gave."""
        self._receivers = receivers

    @property
    def people(self) -> dict[str, tuple[str, str]]:
        """By name, what each is known by."""
        return {user: (f"user:{user}", f"anon:a-{user}") for user in self.done}

    @property
    def acknowledged(self) -> list[str]:
        """The messageId of each event."""
        return [_event(user, number)["messageId"] for user, amount in self.done.items() for number in range(amount)]

    def bought(self, user: str) -> list[int]:
        """Somebody's purchases, in the order in which they were acknowledged."""
        return [number for number in range(self.done[user]) if _event(user, number).get("event") == "Bought"]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number, user in enumerate(self.done):
                group.create_task(self._tell(user, self._receivers[number % len(self._receivers)], ending))
            yield
            ending.set()

    async def more(self, receiver: str | None = None) -> None:
        """Returns once three more of each person's were acknowledged: of everybody, or of those of this receiver."""
        count = len(self._receivers)
        mine = [u for n, u in enumerate(self.done) if receiver in (None, self._receivers[n % count])]
        wanted = {user: self.done[user] + _MORE for user in mine}
        async with asyncio.timeout(_PATIENCE_S):
            while any(self.done[user] < amount for user, amount in wanted.items()):
                await asyncio.sleep(0.05)

    async def refused(self, receiver: str) -> None:
        """Returns once that receiver could not take an event, and somebody has to repeat it."""
        async with asyncio.timeout(_PATIENCE_S):
            while 503 not in self.answers[receiver]:
                await asyncio.sleep(0.05)

    async def _tell(self, user: str, receiver: str, ending: asyncio.Event) -> None:
        while not ending.is_set():
            if await self._taken(_event(user, self.done[user]), receiver):
                self.done[user] += 1
            await asyncio.sleep(_PACE_S)

    async def _taken(self, event: Event, receiver: str) -> bool:
        status = await post(receiver, *signed([event]))
        self.answers[receiver].add(status)
        return status == 200


def _event(user: str, number: int) -> Event:
    name = f"{user}-{number}"
    match number % 5:
        case 0:
            return identify(name, user, {"n": number}, anonymousId=f"a-{user}")
        case 1:
            return track(name, "Viewed", anonymousId=f"a-{user}")
    return bought(name, user, number)
