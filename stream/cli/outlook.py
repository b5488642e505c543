"""What a sync would send, read from the store beside the running process. Nothing is sent, nothing is written."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct
from prometheus_client import CollectorRegistry

from stream.batch import Surroundings
from stream.cli.frame import Frame
from stream.cli.state import kept, remembered
from stream.errors import Outcome
from stream.gate import Gate
from stream.http import Shown
from stream.looking import Look, Looking
from stream.processor import Sync
from stream.store import Store
from stream.store.database import Transaction
from stream.telemetry import Metrics
from stream.trial import known_until, requests
from stream.turns import Turns

PAGE = 1_000


class Amount(Struct, frozen=True):
    """So many would be given (or withdrawn) this; or would not, and why."""

    thing: str
    does: str
    refused: str
    amount: int


class Would(Struct, frozen=True):
    """One thing that would be sent, and the requests for it; or would not, and why."""

    does: str
    verb: str
    address: str
    thing: str
    value: Any = None
    refused: str = ""
    requests: list[Shown] = []


class Outlook:
    """Looks for one sync, as of the moment up to which the store knows what people allow."""

    def __init__(self, store: Store, sync: Sync, looking: Looking, at: float) -> None:
        self.store = store
        self.time = at
        self._sync = sync
        self._looking = looking

    @classmethod
    @asynccontextmanager
    async def open(cls, frame: Frame, sync: Sync) -> AsyncIterator["Outlook"]:
        """On the files that the configuration names. Raises StoreError and LogError where there are none yet."""
        async with kept(frame) as log, remembered(frame) as store:
            at = await known_until(store, time.time())
            around = Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), lambda: at)
            spaces = {"", *(source.space for source in frame.config.sources.values())}
            yield cls(store, sync, Looking(sync, around, Gate(around, frame.config), spaces), at)

    async def everybody(self, everything: bool, seen: Callable[[int], None]) -> list[Amount]:
        """What a walk would send, counted; `seen` hears of each page how many people it was."""
        counts: Counter[tuple[str, str, str]] = Counter()
        after: str | None = ""
        while after is not None:
            subjects = await self._subjects(after)
            looks = await self._looking.page(subjects, everything)
            for look in looks:
                counts.update(_counted(look))
            seen(len(looks))
            after = subjects[-1] if subjects else None
        return [Amount(*key, amount) for key, amount in sorted(counts.items())]

    async def person(self, subject: str, everything: bool) -> list[Would]:
        """What would be sent about one person. Raises what wanted() raised."""
        look = await self._looking.at(subject, everything)
        if look.error is not None:
            raise look.error
        found = [Would("give", "", address, thing, refused=reason) for (address, thing), reason in look.refused.items()]
        for one in look.send:
            shown = await requests(self._sync, look, one)
            found.append(Would(_does(one.gives), one.verb, one.address, one.thing, one.value, requests=shown))
        return found

    async def _subjects(self, after: str) -> Sequence[str]:
        store, destination = self.store, self._sync.connector.name

        async def read(tx: Transaction) -> set[str]:
            known = await store.walks.page(tx, after, PAGE)
            return {*known, *await store.deletions.waiting_at(tx, destination, after, PAGE)}

        return sorted(await store.db.reading(read))[:PAGE]


def _counted(look: Look) -> list[tuple[str, str, str]]:
    if look.error is not None:
        reason = look.error.reason if isinstance(look.error, Outcome) else f"bug:{type(look.error).__name__}"
        return [("", "nothing", reason)]
    found = [(one.thing, _does(one.gives), "") for one in look.send]
    found += [(thing, "give", reason) for (_, thing), reason in look.refused.items()]
    return found + ([("", "nothing", look.waits.reason)] if look.waits else [])


def _does(gives: bool) -> str:
    return "give" if gives else "withdraw"
