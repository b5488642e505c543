"""Changes of many lanes in one request."""

import asyncio
from pathlib import Path

import pytest

from stream.errors import Dead, Retry
from tests.engine.syncs import Asked, Crm, Lists, System, audience, identify, opt_out

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")

NOW = 1_000_000.0


async def crowd(system: System, amount: int) -> list[str]:
    """So many people, all in the audience; their keys."""
    await system.send(*(identify(f"{n}", NOW, f"{n}@b.c") for n in range(amount)))
    await system.send(*(audience(f"{n}", NOW + 1, True) for n in range(amount)))
    await system.lanes()
    return [f"user:{n}" for n in range(amount)]


async def test_lanes_that_send_the_same_at_the_same_time_share_requests(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm(at_once=100))) as system:
        people = await crowd(system, 50)
        fates = await asyncio.gather(*(system.look(person) for person in people))
        assert set(fates) == {"applied"}
        assert len(system.wire.on("list:vip")) == 50
        assert len(system.wire.asked) <= 5


async def test_a_request_carries_no_more_than_it_may(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm(at_once=7))) as system:
        people = await crowd(system, 50)
        await asyncio.gather(*(system.look(person) for person in people))
        assert sum(len(asked.ids) for asked in system.wire.asked) == 50
        assert max(len(asked.ids) for asked in system.wire.asked) == 7


async def test_alone_it_goes_at_once(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm(at_once=100))) as system:
        (person,) = await crowd(system, 1)
        assert await system.look(person) == "applied"
        assert len(system.wire.asked) == 1


async def test_of_many_that_are_refused_together_only_the_bad_one_dies(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm(at_once=100))) as system:
        people = await crowd(system, 40)

        async def refuse(asked: Asked) -> None:
            if "13@b.c" in asked.ids:
                raise Dead("http_422")

        system.wire.before = refuse
        fates = await asyncio.gather(*(system.look(person) for person in people))
        assert [n for n, fate in enumerate(fates) if fate != "applied"] == [13]
        assert fates[13] == "held:http_422"
        assert len(system.wire.on("list:vip")) == 39


async def test_of_many_that_go_together_who_opted_out_meanwhile_is_left_out(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm(at_once=100))) as system:
        people = await crowd(system, 20)

        async def meanwhile(asked: Asked) -> None:
            if len(asked.ids) > 1:
                system.wire.before = None
                await system.send(opt_out("7", NOW + 2))

        system.wire.before = meanwhile
        await asyncio.gather(*(system.look(person) for person in people))
        assert len(system.wire.on("list:vip")) == 19
        assert not [asked for asked in system.wire.asked if "7@b.c" in asked.ids]


async def test_what_failed_together_is_tried_again_together(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm(at_once=100))) as system:
        people = await crowd(system, 20)
        failed = 0

        async def down(asked: Asked) -> None:
            nonlocal failed
            failed += 1
            if failed <= 3:
                raise Retry("http_503")

        system.wire.before = down
        assert set(await asyncio.gather(*(system.look(person) for person in people))) == {"applied"}
        assert len(system.wire.on("list:vip")) == 20


async def test_if_the_lane_that_makes_a_request_is_cancelled_the_others_try_again(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm(at_once=100))) as system:
        people = await crowd(system, 5)
        reached = asyncio.Event()

        async def hang(asked: Asked) -> None:
            reached.set()
            await asyncio.Event().wait()

        system.wire.before = hang
        looks = [(await system.syncing.looking.at(person)).person for person in people]
        tasks = [asyncio.create_task(system.look(person)) for person in looks]
        await reached.wait()
        system.wire.before = None
        tasks[0].cancel()  # whoever of them leads; at the latest the next one does
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        left = [one for one in done if one != "applied"]
        assert len(left) == 1
        assert isinstance(left[0], asyncio.CancelledError)
        assert len(system.wire.on("list:vip")) >= 4
