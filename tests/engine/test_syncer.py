"""One sync and its destination: whatever comes between, in the end it is as wanted."""

import asyncio
from pathlib import Path

import pytest

from stream.errors import Dead, NotYet, Retry
from stream.lease import Lease
from stream.look import Look
from stream.store.confirmed import Told
from tests.embedded import Clock
from tests.engine.syncs import Asked, Crm, Lists, System, audience, identify, opt_out

pytestmark = pytest.mark.usefixtures("each_store")

NOW = 1_000_000.0


async def test_who_enters_is_put_on_the_list_and_who_leaves_is_taken_off(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        assert "applied" in await system.settle()
        assert system.wire.on("list:vip") == {"a@b.c"}
        await system.send(audience("ada", NOW + 2, False))
        assert await system.settle() == ["applied"]
        assert system.wire.on("list:vip") == set()
        assert await system.told("user:ada") == {("email:a@b.c", "list:vip"): "false"}


async def test_the_same_again_sends_nothing(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        assert await system.look("user:ada") == "applied"
        assert len(system.wire.asked) == 1
        assert await system.look("user:ada", everything=True) == "applied"
        assert len(system.wire.asked) == 2


async def test_a_membership_that_flaps_a_thousand_times_is_a_few_calls_and_the_last_state(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"))
        await system.send(*(audience("ada", NOW + n, n % 2 == 0) for n in range(1, 1_001)))
        await system.settle()
        assert system.wire.on("list:vip") == {"a@b.c"}
        assert len(system.wire.asked) <= 3


async def test_who_left_again_after_an_unclear_outcome_is_not_on_the_list(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))

        async def left_meanwhile(asked: Asked) -> None:
            system.wire.after = None
            await system.send(audience("ada", NOW + 2, False))
            raise Retry("timeout")

        system.wire.after = left_meanwhile
        await system.settle()
        assert [asked.value for asked in system.wire.asked][:2] == [True, False]
        assert system.wire.on("list:vip") == set()
        assert (await system.told("user:ada"))["email:a@b.c", "list:vip"] == "false"


async def test_what_arrives_late_does_not_have_the_last_word(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        calls = 0

        async def late(asked: Asked) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                await system.send(audience("ada", NOW + 2, False))
                raise Retry("timeout")
            if calls == 2:
                system.wire.things["a@b.c", "list:vip"] = True  # the first one is carried out only now

        system.wire.after = late
        await system.settle()
        assert system.wire.on("list:vip") == set()
        assert system.clock.now < NOW + 120


async def test_of_two_members_and_a_walk_for_one_person_one_sends_at_a_time(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(
            identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True), audience("ada", NOW + 2, True, "b")
        )
        (deliveries,) = (await system.lanes()).values()

        async def slow(asked: Asked) -> None:
            await asyncio.sleep(0.01)

        system.wire.after = slow
        other = system.member()
        fates = await asyncio.gather(
            system.act(system.syncing, deliveries),
            system.act(other, deliveries[:1]),
            system.look("user:ada"),
            system.look("user:ada", other, everything=True),
        )
        assert set(fates) == {"applied"}
        assert system.wire.most_at_once == 1
        assert system.wire.on("list:vip") == system.wire.on("list:b") == {"a@b.c"}


async def test_a_member_that_was_frozen_after_taking_its_lease_and_thaws_later_does_no_lasting_harm(
    tmp_path: Path,
) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        (deliveries,) = (await system.lanes()).values()
        thawed, freezes = asyncio.Event(), asyncio.Event()

        async def freeze(asked: Asked) -> None:
            system.wire.after = None
            freezes.set()
            await thawed.wait()  # its request is on the way

        system.wire.after = freeze
        frozen = asyncio.create_task(system.act(system.syncing, deliveries))
        await freezes.wait()
        system.wire.things.clear()  # it has not arrived yet
        await system.send(audience("ada", NOW + 2, False))
        other = system.member()
        system.clock.now += 30  # its lease runs out
        assert await system.settle(other) == ["applied"]
        assert system.wire.asked[-1].value is False
        system.wire.things["a@b.c", "list:vip"] = True  # now it arrives, and its member wakes up
        thawed.set()
        assert await frozen == "applied"
        await system.settle(other)
        assert system.wire.on("list:vip") == set()
        assert await system.told("user:ada") == {("email:a@b.c", "list:vip"): "false"}


async def test_a_frozen_member_sends_nothing_any_more_once_its_lease_is_over(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        (deliveries,) = (await system.lanes()).values()
        thawed, freezes = asyncio.Event(), asyncio.Event()

        async def freeze(asked: Asked) -> None:
            system.wire.before = None
            freezes.set()
            await thawed.wait()

        system.wire.before = freeze
        frozen = asyncio.create_task(system.act(system.syncing, deliveries))
        await freezes.wait()
        await system.send(audience("ada", NOW + 2, False))
        system.clock.now += 30
        await system.settle(system.member())
        sent = len(system.wire.asked)
        thawed.set()
        assert await frozen == "applied"
        assert [asked.value for asked in system.wire.asked[sent:]] == []
        assert system.wire.on("list:vip") == set()


async def test_a_look_that_another_member_overtook_undoes_nothing_of_what_that_one_told(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        (deliveries,) = (await system.lanes()).values()
        late = system.member()
        take = late._leases.take

        async def overtaken(look: Look, timeout_s: float) -> Lease:
            late._leases.take = take  # type: ignore[method-assign]
            assert await system.act(system.syncing, deliveries) == "applied"
            await system.send(opt_out("ada", NOW + 2))  # the late one may send nothing: it puts back what was there
            return await take(look, timeout_s)

        late._leases.take = overtaken  # type: ignore[method-assign]
        await system.act(late, deliveries)
        await system.settle()
        assert system.wire.on("list:vip") == set()
        assert await system.told("user:ada") == {("email:a@b.c", "list:vip"): "false"}


async def test_who_takes_over_an_expired_lease_waits_for_as_long_again(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        (deliveries,) = (await system.lanes()).values()
        task = asyncio.create_task(system.syncing.act(deliveries, False))
        reached = asyncio.Event()

        async def killed(asked: Asked) -> None:
            reached.set()
            await asyncio.Event().wait()

        system.wire.before = killed
        await reached.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        system.wire.before = None
        begun = system.clock.now
        assert await system.look("user:ada", system.member()) == "applied"
        assert system.wire.on("list:vip") == {"a@b.c"}
        assert 2 * 21 <= system.clock.now - begun < 50


async def test_a_lease_that_runs_out_while_it_waits_its_turn_is_prolonged(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))

        async def busy(asked: Asked) -> None:
            await system.passes(100)

        system.wire.before = busy
        assert "applied" in await system.settle()
        assert len(system.wire.asked) == 1


async def test_an_opt_out_between_the_look_and_the_send_is_obeyed(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))

        async def meanwhile(asked: Asked) -> None:
            system.wire.before = None
            await system.send(opt_out("ada", NOW + 2))

        system.wire.before = meanwhile
        await system.settle()
        assert system.wire.asked == []
        assert await system.rows("email:a@b.c") == []


async def test_an_opt_out_takes_off_the_list_and_a_return_puts_on_it_again(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        await system.send(opt_out("ada", NOW + 2))
        await system.settle()
        assert system.wire.on("list:vip") == set()


async def test_an_address_that_two_people_share_is_on_the_list_while_one_of_them_is(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), identify("bob", NOW, "a@b.c"))
        await system.send(audience("ada", NOW + 1, True), audience("bob", NOW + 1, True))
        await system.settle()
        await system.send(audience("ada", NOW + 2, False))
        await system.settle()
        assert system.wire.on("list:vip") == {"a@b.c"}
        assert len(system.wire.asked) == 1
        await system.send(audience("bob", NOW + 3, False))
        await system.settle()
        assert system.wire.on("list:vip") == set()


async def test_an_opt_out_of_one_who_shares_an_address_counts_for_all(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), identify("bob", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        await system.send(opt_out("bob", NOW + 2))
        await system.settle()
        assert system.wire.on("list:vip") == set()


async def test_a_changed_address_is_put_on_and_the_old_one_taken_off_first(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "old@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        await system.send(identify("ada", NOW + 2, "new@b.c"))
        await system.settle()
        assert system.wire.on("list:vip") == {"new@b.c"}
        assert [(asked.ids, asked.value) for asked in system.wire.asked[1:]] == [
            (("old@b.c",), False),
            (("new@b.c",), True),
        ]


async def test_one_thing_that_dies_does_not_keep_the_others_from_being_told(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(
            identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True), audience("ada", NOW + 1, True, "b")
        )

        async def refuse(asked: Asked) -> None:
            if asked.thing == "list:b":
                raise Dead("http_400")

        system.wire.before = refuse
        assert set(await system.settle()) == {"held:http_400"}
        assert system.wire.on("list:vip") == {"a@b.c"}
        assert (await system.told("user:ada"))["email:a@b.c", "list:vip"] == "true"


async def test_what_is_tried_again_goes_before_what_dies(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(
            identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True), audience("ada", NOW + 1, True, "b")
        )
        tries = 0

        async def refuse(asked: Asked) -> None:
            nonlocal tries
            if asked.thing == "list:b":
                raise Dead("http_400")
            tries += 1
            if tries < 3:
                raise Retry("http_500")

        system.wire.before = refuse
        assert set(await system.settle()) == {"held:http_400"}
        assert system.wire.on("list:vip") == {"a@b.c"}


async def test_while_the_gate_answers_nobody_nothing_is_given_and_withdrawals_go_out(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        await system.send(audience("ada", NOW + 2, False), audience("ada", NOW + 2, True, "b"))
        (deliveries,) = (await system.lanes()).values()
        system.clock.now += 3_600  # the projections do not run
        try:
            await system.syncing.act(deliveries, False)
        except NotYet as error:
            assert error.reason == "gate:profiles_behind"
        assert [(asked.thing, asked.value) for asked in system.wire.asked[1:]] == [("list:vip", False)]


async def test_a_look_because_of_another_facet_is_skipped(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"))
        await system.settle()
        await system.send(identify("ada", NOW + 1, traits={"plan": "gold"}))
        assert await system.settle() == ["skipped:facet"]


async def test_whom_the_last_process_doubted_is_looked_at_again(tmp_path: Path) -> None:
    async with System.open(tmp_path, Lists(Crm())) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
        store = system.embedded.store

        async def write(tx):
            (row,) = await store.confirmed.about(tx, "crm", ["user:ada"], ())
            await store.confirmed.doubt(tx, [row])
            await store.marks.add(tx, system.sync.name, [("user:ada", "doubt")])
            return row

        row = await store.db.writing(write)
        await system.syncing.recover()
        assert await system.settle() == ["applied"]
        assert len(system.wire.asked) == 2
        assert isinstance(row, Told)


async def test_a_state_that_was_closed_and_opened_again_is_gone_on_with(tmp_path: Path) -> None:
    clock = Clock()
    async with System.open(tmp_path, Lists(Crm()), clock) as system:
        await system.send(identify("ada", NOW, "a@b.c"), audience("ada", NOW + 1, True))
        await system.settle()
    async with System.open(tmp_path, Lists(Crm()), clock) as system:
        assert await system.look("user:ada") == "applied"
        assert system.wire.asked == []
