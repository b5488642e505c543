"""Walker: a sync looking at everybody: for a new destination, on a schedule, when somebody asks (`stream sync`).

Pages of all subjects are read in bulk; only those who differ go through the lanes, slowly, so that live traffic comes
first and everybody is told by one at a time. The walk's place is kept page by page. While the destination is down it
waits; one person who fails again and again, while others do not, is counted and passed.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import structlog
from msgspec import Struct, structs

from stream import topics
from stream.batch import Surroundings
from stream.core.policy import backoff
from stream.errors import NotYet, Retry
from stream.looking import Look
from stream.message import Delivery, Partition
from stream.outage import outlast
from stream.store.database import Transaction
from stream.store.walks import Walk
from stream.syncer import Syncing, look_of
from stream.unchanged import Unchanged

logger = structlog.get_logger()

PAGE = 1_000  # subjects
_FIRST = Partition(topics.PERSON_CHANGED, 0)
_LOOK_S = 1.0  # between two looks at whether there is a walk to make
_TRIES = 5  # of one person, while others succeed
_LONGEST_S = 30.0


class Puts(Protocol):
    """The part of a runner that a walk needs."""

    @property
    def assigned(self) -> float | None: ...
    async def put(self, delivery: Delivery, slow: bool) -> str: ...
    def owns(self, partition: Partition) -> bool: ...


class Walker:
    """Makes the walks of one sync, while its member owns the first partition of person.changed."""

    def __init__(self, syncing: Syncing, runner: Puts, around: Surroundings) -> None:
        self._syncing = syncing
        self._runner = runner
        self._around = around
        self._unchanged = Unchanged()

    async def run(self) -> None:
        """Until cancelled. Publishes first whom the last process doubted; later, whoever had what is assigned now."""
        await self._syncing.recover()
        assigned = self._runner.assigned
        while True:
            if assigned != self._runner.assigned:
                assigned = self._runner.assigned
                await self._syncing.recover()
            if not await self.step():
                await asyncio.sleep(_LOOK_S)

    async def step(self) -> bool:
        """Makes a walk, if there is one to make."""
        if not self._runner.owns(_FIRST):
            return False
        walk = await outlast(self._due, self._syncing.name)
        if walk is not None:
            await _Walking(walk, self._syncing, self._runner, self._around, self._unchanged).run()
        return walk is not None

    async def _due(self) -> Walk | None:
        walks, name, now = self._around.store.walks, self._syncing.name, self._around.clock()
        walk, last = await walks.next(name)
        if walk is not None:
            return walk
        every = self._syncing.config.walk_every_s
        if last is not None and not (every and now >= last + every):
            return None
        if last is None and not await self._reads_all():
            return None
        return await walks.get(await walks.ask(name, "schedule" if last else "new", False, now))

    async def _reads_all(self) -> bool:
        """Has every partition a position? What changes behind the walk is only then seen by somebody."""
        bounds = await self._around.log.bounds([topics.PERSON_CHANGED])
        return bounds.keys() <= (await self._around.store.positions.all()).get(self._syncing.name, {}).keys()


class _Page(Struct, eq=False):
    """A page that is not all done yet. `after`: its last subject."""

    after: str
    seen: int
    left: int
    differed: int = 0
    failed: int = 0


class _Walking:
    """One walk, from where it is to its end."""

    def __init__(self, walk: Walk, syncing: Syncing, runner: Puts, around: Surroundings, unchanged: Unchanged) -> None:
        self._walk = walk
        self._unchanged = unchanged
        self._syncing = syncing
        self._runner = runner
        self._around = around
        self._pages: deque[_Page] = deque()
        self._at_once = asyncio.Semaphore(max(1, syncing.config.concurrency // 2))
        self._done = 0

    async def run(self) -> None:
        """To the end; or until another member is to go on with it."""
        after: str | None = self._walk.after
        async with asyncio.TaskGroup() as group:
            while after is not None and self._runner.owns(_FIRST):
                after = await self._page(group, after)
        if after is None and not self._pages:
            self._unchanged.walked()
            walks, now = self._around.store.walks, self._around.clock()
            await outlast(lambda: walks.finish(self._walk, now), self._syncing.name)
            if self._walk.failed:
                logger.warning("walk_ended", processor=self._syncing.name, walk=self._walk.id, failed=self._walk.failed)

    async def _page(self, group: asyncio.TaskGroup, after: str) -> str | None:
        """Looks at the next page; its last subject, None if there was none."""
        name = self._syncing.name
        subjects = await outlast(lambda: self._subjects(after), name)
        if not subjects:
            return None
        skipped, looks = await self._looks(after, subjects)
        closed = next((look.waits for look in looks if look.waits is not None), None)
        if closed is not None and not any(look.send for look in looks):
            await asyncio.sleep(closed.after or 1.0)  # nobody may be given anything: the page is looked at again
            return after
        differing = [look for look in looks if look.differs]
        page = _Page(subjects[-1], skipped + len(looks), len(differing), len(differing))
        self._pages.append(page)
        for look in differing:
            await self._at_once.acquire()
            group.create_task(self._look(page, look.person))
        await self._advance()
        return page.after

    async def _looks(self, after: str, subjects: Sequence[str]) -> tuple[int, list[Look]]:
        """A look at each of these, but for so many who were as wanted and have not changed."""
        name, looking = self._syncing.name, self._syncing.looking
        if self._walk.everything:
            return 0, await outlast(lambda: looking.page(subjects, True), name)
        apart = await outlast(lambda: looking.apart((after, subjects[-1]), self._unchanged.knows), name)
        self._unchanged.note(apart)
        done = {*apart.unchanged, *(look.person for look in apart.looks)}
        left = [subject for subject in subjects if subject not in done]
        looks = await outlast(lambda: looking.page(left), name) if left else []
        return len(apart.unchanged), [*apart.looks, *looks]

    async def _subjects(self, after: str) -> list[str]:
        store, destination = self._around.store, self._syncing.sync.connector.name

        async def read(tx: Transaction) -> set[str]:
            known = await store.walks.page(tx, after, PAGE)
            return {*known, *await store.deletions.waiting_at(tx, destination, after, PAGE)}

        return sorted(await store.db.reading(read))[:PAGE]

    async def _look(self, page: _Page, person: str) -> None:
        try:
            looked = await self._looked(person)
        finally:
            self._at_once.release()
        if looked is not None:
            page.failed += not looked
            page.left -= 1
            await self._advance()

    async def _looked(self, person: str) -> bool | None:
        """Looks until the person is as wanted, and waits as long as it must. False: it fails, and others do not; None:
        another member is to go on."""
        attempts, done = 0, self._done
        while self._runner.owns(_FIRST):
            try:
                await self._runner.put(look_of(person, self._around.clock(), self._walk.everything), True)
            except NotYet as error:
                wait = error.after or 1.0
            except Retry as error:
                attempts += 1
                if attempts >= _TRIES and self._done > done and not error.outage:
                    return False
                wait = max(error.after or 0.0, backoff(attempts, random.random(), _LONGEST_S))
            except Exception:  # it is wrong, or an author's bug: it shows in every look at this person
                return False
            else:
                self._done += 1
                return True
            await asyncio.sleep(wait)
        return None

    async def _advance(self) -> None:
        """Keeps the place behind the first pages that are all done."""
        walk = self._walk
        while self._pages and not self._pages[0].left:
            page = self._pages.popleft()
            self._around.metrics.walk_people.labels(self._syncing.name).inc(page.seen)
            walk = structs.replace(
                walk,
                after=page.after,
                seen=walk.seen + page.seen,
                differed=walk.differed + page.differed,
                failed=walk.failed + page.failed,
            )
        if walk is not self._walk:
            self._walk = walk
            await outlast(lambda: self._around.store.walks.advance(walk), self._syncing.name)
