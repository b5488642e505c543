"""A sync looks at everybody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from stream import topics, walker
from stream.commits import Commits
from stream.config import LaneConfig
from stream.errors import Dead, Retry
from stream.message import Message, Partition
from stream.person import Person
from stream.processor import Want
from stream.runner import Runner
from stream.store.walks import Walk
from stream.walker import Walker
from tests.embedded import Clock, message
from tests.engine.syncs import Asked, Crm, Lists, System, audience, identify, opt_out
from tests.engine.test_syncer_people import Choosy, forget, seen_as

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")

NOW = 1_000_000.0


class Walking:
    """A system whose sync has a runner, joined, and a walker."""

    def __init__(self, system: System, runner: Runner, walks: Walker) -> None:
        self.system = system
        self.runner = runner
        self.walker = walks

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, folder: Path, sync: Lists, clock: Clock | None = None, **config: Any
    ) -> AsyncIterator["Walking"]:
        """On the files of this folder."""
        async with System.open(folder, sync, clock) as system, cls.of(system, **config) as walking:
            yield walking

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, system: System, **config: Any) -> AsyncIterator["Walking"]:
        """A member of it."""
        around = system.embedded.around
        system.syncing.config = structs.replace(LaneConfig(), **config)
        runner = Runner(system.syncing, around, Commits(around.store))
        async with runner.joined() as cursor:
            while not runner.owns_something:
                await runner.step(cursor)
            async with runner._crew.at_work():
                yield cls(system, runner, Walker(system.syncing, runner, around))

    async def last(self) -> Walk:
        """The newest walk."""
        ((number,),) = await self.system.embedded.store.db.reading(lambda tx: tx.all("SELECT max(id) FROM walks"))
        walk = await self.system.embedded.store.walks.get(number)
        assert walk is not None
        return walk


async def people(system: System, amount: int) -> None:
    """So many, all in the audience."""
    await system.send(*(identify(f"{n:03}", NOW, f"{n}@b.c") for n in range(amount)))
    await system.send(*(audience(f"{n:03}", NOW + 1, True) for n in range(amount)))


async def test_a_new_destination_is_told_of_everybody_who_is_in_the_store(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await people(system, 30)
        async with Walking.of(system) as walking:
            assert await walking.walker.step()
            assert len(system.wire.on("list:vip")) == 30
            walk = await walking.last()
            assert (walk.state, walk.who, walk.seen, walk.differed, walk.failed) == ("done", "new", 30, 30, 0)
            assert not await walking.walker.step()


async def test_a_walk_of_people_who_are_as_wanted_sends_and_asks_nothing(tmp_path: Path) -> None:
    async with Walking.open(tmp_path, Lists(Crm()), walk_every_s=3_600.0) as walking:
        system = walking.system
        await people(system, 10)
        await walking.walker.step()
        sent = len(system.wire.asked)
        system.clock.now += 3_599
        assert not await walking.walker.step()
        await system.passes(1)
        assert await walking.walker.step()
        walk = await walking.last()
        assert (walk.who, walk.seen, walk.differed) == ("schedule", 10, 0)
        assert len(system.wire.asked) == sent


async def test_a_walk_repairs_what_no_change_told_of(tmp_path: Path) -> None:
    async with Walking.open(tmp_path, Lists(Crm())) as walking:
        system, store = walking.system, walking.system.embedded.store
        await people(system, 5)
        await walking.walker.step()
        await store.db.writing(lambda tx: tx.run("UPDATE confirmed SET value = NULL WHERE address = 'email:3@b.c'"))
        await store.walks.ask("audiences.crm", "me", False, system.clock.now)
        await walking.walker.step()
        assert [asked.ids for asked in system.wire.asked[5:]] == [("3@b.c",)]


async def test_everything_is_sent_again_where_it_is_asserted(tmp_path: Path) -> None:
    async with Walking.open(tmp_path, Lists(Crm())) as walking:
        system = walking.system
        await people(system, 5)
        await walking.walker.step()
        await system.embedded.store.walks.ask("audiences.crm", "me", True, system.clock.now)
        await walking.walker.step()
        assert len(system.wire.asked) == 10
        assert (await walking.last()).differed == 5


async def test_linked_subjects_are_one_person_whatever_page_they_are_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walker, "PAGE", 2)
    async with Walking.open(tmp_path, Lists(Crm())) as walking:
        system = walking.system
        await people(system, 5)
        await system.send(*(seen_as(f"a{n}", f"{n:03}", NOW + 2) for n in range(5)))
        await walking.walker.step()
        walk = await walking.last()
        assert (walk.seen, walk.differed) == (5, 5)
        assert len(system.wire.on("list:vip")) == 5


async def test_a_walk_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walker, "PAGE", 5)
    clock = Clock()
    async with Walking.open(tmp_path, Lists(Crm()), clock) as walking:
        system = walking.system
        await people(system, 30)
        reached, over = asyncio.Event(), asyncio.Event()

        async def hang(asked: Asked) -> None:
            if asked.ids == ("17@b.c",):
                reached.set()
                await over.wait()
                raise Retry("http_500")

        system.wire.before = hang
        walk = asyncio.create_task(walking.walker.step())
        await reached.wait()
        while (await walking.last()).after != "user:014":
            await asyncio.sleep(0)
        walk.cancel()
        await asyncio.gather(walk, return_exceptions=True)
        over.set()
    async with Walking.open(tmp_path, Lists(Crm()), clock) as walking:
        system = walking.system
        await walking.walker.step()
        done = await walking.last()
        assert (done.state, done.seen) == ("done", 30)
        assert ("0@b.c",) not in {asked.ids for asked in system.wire.asked}
        assert ("17@b.c",) in {asked.ids for asked in system.wire.asked}


async def test_who_fails_again_and_again_is_counted_and_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walker, "_LONGEST_S", 0.01)
    async with Walking.open(tmp_path, Lists(Crm())) as walking:
        system = walking.system
        await people(system, 10)
        tries = 0

        async def fails(asked: Asked) -> None:
            nonlocal tries
            if asked.ids == ("3@b.c",):
                tries += 1
                raise Retry("http_500")
            if asked.ids == ("4@b.c",):
                raise Dead("http_400")

        system.wire.before = fails
        assert await walking.walker.step()
        walk = await walking.last()
        assert (walk.state, walk.differed, walk.failed) == ("done", 10, 2)
        assert len(system.wire.on("list:vip")) == 8
        assert tries >= 5


async def test_while_the_destination_is_down_a_walk_waits_and_passes_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walker, "_LONGEST_S", 0.01)
    async with Walking.open(tmp_path, Lists(Crm())) as walking:
        system = walking.system
        await people(system, 10)
        tries = 0

        async def down(asked: Asked) -> None:
            nonlocal tries
            tries += 1
            if tries == 25:
                system.wire.before = None
            raise Retry("http_500")

        system.wire.before = down
        # The breaker opens and asks again after a while: of the clock, which stands still here.
        walk = asyncio.create_task(walking.walker.step())
        while not walk.done():
            await system.passes(10)
            await walking.runner._called()
        done = await walking.last()
        assert (done.state, done.failed) == ("done", 0)
        assert len(system.wire.on("list:vip")) == 10


async def test_one_whom_nobody_can_tell_what_is_wanted_of_is_counted(tmp_path: Path) -> None:
    async with Walking.open(tmp_path, Choosy(Crm())) as walking:
        system = walking.system
        await people(system, 3)
        await system.send(identify("x", NOW, "x@b.c", traits={"broken": True}))
        await walking.walker.step()
        walk = await walking.last()
        assert (walk.seen, walk.failed) == (4, 1)
        assert len(system.wire.on("list:vip")) == 3


async def test_nothing_is_walked_by_a_member_that_does_not_own_the_first_partition(tmp_path: Path) -> None:
    async with Walking.open(tmp_path, Lists(Crm())) as walking:
        around = walking.system.embedded.around
        nobody = Runner(walking.system.member(), around, Commits(around.store))
        assert not nobody.owns(Partition(topics.PERSON_CHANGED, 0))
        assert not await Walker(walking.system.member(), nobody, around).step()


class Bounded(Lists):
    """Counts how many people it is asked about."""

    asked = 0

    def wanted(self, person: Person) -> Sequence[Want]:
        self.asked += 1
        return super().wanted(person)


async def test_a_walk_asks_once_what_is_wanted_of_somebody_who_does_not_differ(tmp_path: Path) -> None:
    sync = Bounded(Crm())
    async with Walking.open(tmp_path, sync) as walking:
        await people(walking.system, 20)
        await walking.walker.step()
        await walking.system.embedded.store.walks.ask("audiences.crm", "me", False, walking.system.clock.now)
        sync.asked = 0
        await walking.walker.step()
        assert sync.asked == 20


async def unknown(system: System) -> None:
    """A state that was restored: of one thing nobody knows what was told."""
    await system.embedded.store.db.writing(
        lambda tx: tx.run("UPDATE confirmed SET value = NULL WHERE address = 'email:3@b.c'")
    )


async def forgotten(system: System) -> None:
    """Nothing was ever told of one of them, as far as is known."""
    await system.embedded.store.db.writing(lambda tx: tx.run("DELETE FROM confirmed WHERE address = 'email:3@b.c'"))


def anonymous_opt_out(anonymous: str, at: float) -> Message:
    """No more e-mail, says somebody."""
    return message("track", at, anonymousId=anonymous, event="Email Unsubscribed")


def sent(*messages: Message) -> Callable[[System], Awaitable[None]]:
    """These come in, and nobody looks."""
    return lambda system: system.send(*messages)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(sent(audience("003", NOW + 5, False)), id="left"),
        pytest.param(sent(audience("003", NOW + 5, True, "more")), id="entered"),
        pytest.param(sent(opt_out("003", NOW + 5)), id="opted out"),
        pytest.param(sent(identify("003", NOW + 5, "new@b.c")), id="another address"),
        pytest.param(sent(identify("new", NOW + 5, "n@b.c"), audience("new", NOW + 5, True)), id="somebody new"),
        pytest.param(sent(seen_as("9", "003", NOW + 5), anonymous_opt_out("9", NOW + 6)), id="linked to who opted out"),
        pytest.param(sent(identify("bob", NOW + 5, "3@b.c"), opt_out("bob", NOW + 6)), id="shares with who opted out"),
        pytest.param(sent(forget("003", NOW)), id="to be deleted"),
        pytest.param(unknown, id="unknown"),
        pytest.param(forgotten, id="forgotten"),
    ],
)
async def test_whatever_changed_since_the_last_walk_the_next_one_sees(
    tmp_path: Path, change: Callable[[System], Awaitable[None]]
) -> None:
    sync = Bounded(Crm())
    async with Walking.open(tmp_path, sync) as walking:
        system, store = walking.system, walking.system.embedded.store
        await people(system, 6)
        await walking.walker.step()  # they differ
        for _ in range(2):  # and now they do not; and then nobody needs to be looked at
            sync.asked = 0
            await store.walks.ask("audiences.crm", "me", False, system.clock.now)
            await walking.walker.step()
        assert sync.asked == 0
        before = len(system.wire.asked)
        await change(system)
        await store.walks.ask("audiences.crm", "me", False, system.clock.now)
        walk = asyncio.create_task(walking.walker.step())
        while not walk.done():
            await system.passes(1)
        assert len(system.wire.asked) > before
        fresh = Walker(system.syncing, walking.runner, system.embedded.around)
        await store.walks.ask("audiences.crm", "me", False, system.clock.now)
        await fresh.step()
        assert (await walking.last()).differed == 0
