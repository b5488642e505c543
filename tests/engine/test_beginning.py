"""Where a new reactor or sync begins: at the end of the log, as it is before the receiver takes anything."""

from pathlib import Path

import pytest

from stream import start, topics
from tests.embedded import Embedded, message

pytestmark = pytest.mark.usefixtures("each_store")

TRACK = [topics.RAW["track"]]


async def test_what_comes_after_its_beginning_and_before_its_first_member_is_its_own(tmp_path: Path) -> None:
    async with Embedded.open(tmp_path) as system:
        await system.send(message("track", 1.0, userId="u1"))
        await start.begin("late", system.log, system.store, TRACK)
        await system.send(message("track", 2.0, userId="u1"))
        bounds = await system.log.bounds(TRACK)
        owned = await start.claim("late", system.log, system.store, bounds, from_end=True)
        assert sum(end - owned[partition].position for partition, (_, end) in bounds.items()) == 1


async def test_a_beginning_moves_no_position_and_takes_no_claim(tmp_path: Path) -> None:
    async with Embedded.open(tmp_path) as system:
        bounds = await system.log.bounds(TRACK)
        owned = await start.claim("old", system.log, system.store, bounds)
        await system.send(message("track", 1.0, userId="u1"))
        await start.begin("old", system.log, system.store, TRACK)
        assert {p: at for p, at in (await system.store.positions.all())["old"].items() if at} == {}
        await system.store.db.writing(
            lambda tx: system.store.positions.check(tx, "old", {p: one.claim for p, one in owned.items()})
        )


async def test_one_that_stopped_counts_as_behind_until_it_has_caught_up_once_more(tmp_path: Path) -> None:
    async with Embedded.open(tmp_path) as system:
        await system.settle()
        store = system.store
        assert await store.db.reading(lambda tx: tx.all("SELECT 1 FROM caught_up WHERE processor = 'consent'"))
        await store.positions.stop("consent", "most of its last deliveries died", 1.0)
        await store.positions.resume("consent")
        assert not await store.db.reading(lambda tx: tx.all("SELECT 1 FROM caught_up WHERE processor = 'consent'"))
        await system.settle()
        assert not await store.db.reading(lambda tx: tx.all("SELECT 1 FROM stops"))


async def test_a_partition_that_was_added_is_read_from_its_beginning(tmp_path: Path) -> None:
    async with Embedded.open(tmp_path) as system:
        log, positions = system.log, system.store.positions
        bounds = await log.bounds(TRACK)
        *old, added = sorted(bounds)
        await positions.begin("late", dict.fromkeys(old, 0), await log.identities(TRACK))
        await system.send(*[message("track", 1.0, userId=f"u{n}") for n in range(40)])
        owned = await start.claim("late", log, system.store, [added], from_end=True)
        assert owned[added].position == 0 < (await log.bounds(TRACK))[added][1]


async def test_a_new_reactor_whose_members_claim_one_after_the_other_begins_everywhere_at_once(tmp_path: Path) -> None:
    async with Embedded.open(tmp_path) as system:
        await system.send(*[message("track", 1.0, userId=f"u{n}") for n in range(40)])
        bounds = await system.log.bounds(TRACK)
        first, *others = sorted(bounds)
        await start.claim("late", system.log, system.store, [first], from_end=True)
        owned = await start.claim("late", system.log, system.store, others, from_end=True)
        assert {p: one.position for p, one in owned.items()} == {p: bounds[p][1] for p in others}
