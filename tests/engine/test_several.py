"""Several members of one processor, and several processes over one store: nobody speaks for the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs

from stream.core.envelope import Limits
from stream.errands import Errands
from stream.errors import ClaimLost
from stream.log import Cursor
from stream.projector import Projector
from stream.publisher import Publisher
from stream.store import Store
from stream.worker import Worker
from tests.embedded import Embedded, config, message
from tests.engine.outcome import ready

pytestmark = pytest.mark.usefixtures("each_store")

BAD = {"event": "Order Completed", "properties": {"revenue": "x"}}
USERS = [f"u{n}" for n in range(40)]


class Two:
    """Two members of one projection."""

    def __init__(self, system: Embedded, other: Projector, cursor: Cursor, name: str) -> None:
        self.system, self.name, self.other, self._cursor = system, name, other, cursor
        self.one = system.projectors[name]

    async def step(self, which: Projector) -> int:
        cursor = self._cursor if which is self.other else self.system.cursors[self.name]
        return await which.step(cursor)

    async def read(self, which: Projector) -> None:
        """All of its partitions."""
        while await self.step(which):
            pass

    @property
    async def standing(self) -> float | None:
        store = self.system.store
        return (await store.db.reading(store.positions.standing)).get(self.name)


@asynccontextmanager
async def two(system: Embedded, name: str) -> AsyncIterator[Two]:
    other = Projector(system.projectors[name].projection, system.around, Publisher(name, system.around, False))
    async with other.joined() as cursor, asyncio.timeout(20):
        both = Two(system, other, cursor, name)
        while not (both.one.owns_something and other.owns_something and not await both.step(both.one)):
            await both.step(other)
        await both.read(other)
        yield both


@asynccontextmanager
async def process(system: Embedded, folder: Path, *names: str) -> AsyncIterator[tuple[Worker, Errands]]:
    """Another process over the same state, with members of these processors, or with no part of any."""
    async with Store.open(Embedded.store_of(folder), config(folder).identity) as store:
        around = structs.replace(system.around, store=store)
        worker = Worker(around, [system.projectors[name].projection for name in names], False)
        worker.projectors = {name: system.projectors[name] for name in names}
        yield worker, Errands(around, worker, Limits(events=100, depth=20), elsewhere=list(system.projectors))


async def test_a_processor_has_not_caught_up_when_only_one_of_its_members_has(tmp_path, monkeypatch):
    monkeypatch.setattr("stream.caught_up._AGAIN_S", 0.0)
    async with Embedded.open(tmp_path, config(tmp_path, ["consent"])) as system, two(system, "consent") as both:
        clock = system.around.clock
        before = await both.standing
        clock.now += 10.0
        await system.send(*[message("track", 1.0, userId=user, event="A") for user in USERS])
        await both.read(both.one)
        await both.read(both.one)
        assert await both.standing == before, "the other one has read nothing yet"
        await both.read(both.other)
        assert await both.standing == clock.now
        clock.now += 10.0
        for _ in range(2):  # what it asked before is noted first
            await both.step(both.one)
        assert await both.standing == clock.now, "nothing is there that the other one had not read"


async def test_two_members_under_load_of_whom_none_is_ever_at_the_end_have_caught_up_all_the_same(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("stream.caught_up._AGAIN_S", 0.0)
    monkeypatch.setattr("stream.projector.BATCH", 10)
    monkeypatch.setattr("stream.unwritten.LONGEST_S", 0.0)
    async with Embedded.open(tmp_path, config(tmp_path, ["consent"])) as system, two(system, "consent") as both:
        clock = system.around.clock
        await system.send(*[message("track", 1.0, userId=user, event="A") for user in USERS])
        for n in range(30):
            clock.now += 1.0
            await system.send(*[message("track", 2.0 + n, userId=user, event="A") for user in USERS[n % 2 :: 2]])
            assert await both.step(both.one) and await both.step(both.other)
            assert clock.now - (await both.standing or 0.0) < 10.0


async def test_what_a_member_left_unpublished_is_published_by_whoever_gets_its_partitions(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles"])) as system:
        await ready(system)
        store = system.store
        await system.send(message("identify", 1.0, userId="ada", traits={"plan": "pro"}))
        await system.read()
        before = len(await system.topic("person.changed"))
        # A member elsewhere was killed between its commit and its publishing.
        await store.db.writing(lambda tx: store.marks.add(tx, "profiles", [("user:ada", "profile")]))
        await system.read()
        assert len(await system.topic("person.changed")) == before, "nothing was assigned anew"
        async with two(system, "profiles"):
            assert not await store.marks.open("profiles")
        assert len(await system.topic("person.changed")) > before


async def test_a_held_delivery_is_tried_by_the_member_that_owns_its_partition(tmp_path):
    folder = config(tmp_path, ["profiles", "deletion", "examples.orders"])
    async with Embedded.open(tmp_path, folder) as system, two(system, "orders") as both:
        await system.send(message("track", 1.0, userId="u1", **BAD))
        await both.read(both.one)
        await both.read(both.other)
        (held,) = await system.store.held.page()
        at = held.delivery.partition
        owner, stranger = (both.one, both.other) if both.one.owns(at) else (both.other, both.one)
        with pytest.raises(ClaimLost):
            await stranger.retry(held)
        assert await owner.retry(held) == "held:bug:ValueError"


async def test_a_stop_is_seen_in_every_process_and_so_is_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("stream.worker._STOPS_S", 0.01)
    async with (
        Embedded.open(tmp_path, config(tmp_path, ["consent"])) as system,
        process(system, tmp_path) as (away, _),
        asyncio.timeout(20),
        asyncio.TaskGroup() as group,
    ):
        member = Waiting()
        away.projectors = {"consent": member}
        running = group.create_task(away.run())
        await member.begun.get()
        await system.store.positions.stop("consent", "most die", 1.0)
        await member.ended.get()
        assert away.stopped == {"consent": "most die"}
        assert await system.store.positions.resume("consent")
        await member.begun.get()
        assert away.stopped == {}
        running.cancel()


async def test_what_anybody_could_do_is_done_by_one_process_and_what_is_a_members_own_is_left_to_it(tmp_path):
    folder = config(tmp_path, ["profiles", "deletion", "examples.orders"])
    async with Embedded.open(tmp_path, folder) as system:
        await ready(system)
        async with (
            process(system, tmp_path, "orders") as (_, here),
            process(system, tmp_path, "profiles") as (_, there),
        ):
            requests = system.store.requests
            first = await requests.ask("forget", {"userId": "7"}, "ops", 1_000.0)
            await there.step()
            await here.step()
            assert len(await system.topic("segment.delete")) == 1
            assert (await requests.get(first)).result.startswith("operator-")
            await system.send(message("track", 1.0, userId="u1", **BAD))
            await system.read()
            (held,) = await system.store.held.page()
            at = held.delivery.partition
            args = {"id": held.id, "processor": "orders", "topic": at.topic, "part": at.number}
            second = await requests.ask("held.retry", args, "ops", 1_000.0)
            await there.step()
            assert (await requests.get(second)).done is None, "it does not run there"
            await here.step()
            assert (await requests.get(second)).result == "held:bug:ValueError"
            third = await requests.ask("resume", {"processor": "orders"}, "ops", 1_000.0)
            await system.store.positions.stop("orders", "most die", 1.0)
            await there.step()
            assert (await requests.get(third)).result == "resumed", "the store says so to all"


class Waiting:
    """A member that runs until it is stopped."""

    name = "consent"
    projection = None

    def __init__(self) -> None:
        self.begun: asyncio.Queue[None] = asyncio.Queue()
        self.ended: asyncio.Queue[None] = asyncio.Queue()

    async def run(self) -> None:
        self.begun.put_nowait(None)
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.put_nowait(None)


async def test_a_member_that_lost_one_partition_passes_over_nothing_in_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("stream.unwritten.LONGEST_S", 0.0)
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles"])) as system:
        await ready(system)
        one, store = system.projectors["profiles"], system.store
        by_partition = {}
        for user in USERS:
            await system.send(message("identify", 1.0, userId=user, traits={"n": 1}))
            bounds = await system.log.bounds(["segment.identify"])
            moved = [p for p, (_, end) in bounds.items() if end != by_partition.get(p, (0, ""))[0]]
            by_partition[moved[0]] = bounds[moved[0]][1], user
        lost, *kept = sorted(by_partition)
        before = (await store.positions.all())["profiles"]
        await store.db.writing(
            lambda tx: tx.run("UPDATE positions SET claim = claim + 1 WHERE topic = ? AND part = ?", *lost)
        )
        await one.step(system.cursors["profiles"])
        await system.send(*[message("identify", 2.0, userId=by_partition[p][1], traits={"n": 2}) for p in kept])
        await one.step(system.cursors["profiles"])
        now = (await store.positions.all())["profiles"]
        assert {p: now[p] for p in by_partition} == {p: before[p] for p in by_partition}, "nothing of them was handled"
