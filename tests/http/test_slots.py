"""Whose request goes out next, and when."""

import asyncio

import pytest

from stream.core.bucket import Rate
from stream.errors import NotYet, Retry, Skip
from stream.http.slots import Slots, rank
from tests.http.conftest import OK, always, answer, asked

WITHDRAW, GIVE, WALK_WITHDRAW, WALK_GIVE = rank(False, False), rank(True, False), rank(False, True), rank(True, True)
SECOND, DAY = Rate.parse("2/s"), Rate.parse("8/day")


async def turns():
    """Every task that can go on does."""
    for _ in range(5):
        await asyncio.sleep(0)


def waiting(slots, order, *ranks):
    """Tasks that take a slot each, and say so."""

    async def one(name, turn):
        await slots.take(turn)
        order.append(name)

    return [asyncio.create_task(one(f"{turn}{i}", turn)) for i, turn in enumerate(ranks)]


async def test_withdrawals_go_first_then_gives_then_walks_each_in_order(clock):
    slots, order = Slots(1, [], clock), []
    await slots.take(GIVE)
    tasks = waiting(slots, order, WALK_GIVE, WALK_WITHDRAW, GIVE, WITHDRAW, GIVE, WITHDRAW)
    await turns()
    assert order == []
    for turn in (GIVE, WITHDRAW, WITHDRAW, GIVE, GIVE, WALK_WITHDRAW):
        slots.release(turn)
        await turns()
    assert order == ["03", "05", "12", "14", "21", "30"]
    await asyncio.gather(*tasks)


async def test_walks_never_hold_more_than_a_quarter_of_the_slots(clock):
    slots, order = Slots(8, [], clock), []
    walks = waiting(slots, order, *[WALK_GIVE] * 5)
    await turns()
    assert len(order) == 2
    live = waiting(slots, order, *[GIVE] * 7)
    await turns()
    assert len(order) == 8
    slots.release(GIVE)
    await turns()
    assert order[8:] == ["16"]
    slots.release(GIVE)
    await turns()
    assert len(order) == 9
    slots.release(WALK_GIVE)
    await turns()
    assert order[9:] == ["32"]
    for task in (*walks, *live):
        task.cancel()


async def test_a_walk_gets_a_slot_where_there_is_only_one(clock):
    slots = Slots(1, [], clock)
    await slots.take(WALK_GIVE)
    slots.release(WALK_GIVE)
    await slots.take(GIVE)


async def test_what_waits_for_the_rate_goes_in_order_of_rank_as_well(clock):
    slots, order = Slots(9, [SECOND], clock, patience_s=5), []
    tasks = waiting(slots, order, GIVE, GIVE, GIVE, WITHDRAW)
    await turns()
    assert order == ["10", "11"]
    clock.now += 1
    slots.release(GIVE)
    await turns()
    assert order == ["10", "11", "03", "12"]
    await asyncio.gather(*tasks)
    slots.close()


async def test_a_short_wait_for_the_rate_ends_by_itself(clock):
    slots, order = Slots(9, [Rate(1, 0.02)], asyncio.get_running_loop().time), []
    await asyncio.gather(*waiting(slots, order, GIVE, GIVE, GIVE))
    assert order == ["10", "11", "12"]


async def test_a_long_wait_for_the_rate_is_not_waited_for(clock):
    slots = Slots(9, [DAY], clock)
    for _ in range(8):
        await slots.take(GIVE)
    clock.now += 400
    with pytest.raises(NotYet, match=r"^rate_limited$") as caught:
        await slots.take(WITHDRAW)
    assert caught.value.after == pytest.approx(86_000, abs=1)


async def test_walks_leave_half_of_a_rate_to_what_is_live(clock):
    slots = Slots(9, [DAY], clock)
    for _ in range(4):
        await slots.take(WALK_GIVE)
        slots.release(WALK_GIVE)
    with pytest.raises(NotYet, match=r"^rate_limited$"):
        await slots.take(WALK_GIVE)
    for _ in range(4):
        await slots.take(GIVE)
    with pytest.raises(NotYet):
        await slots.take(GIVE)


async def test_what_was_not_used_does_not_count_for_the_rates(clock):
    slots = Slots(9, [DAY], clock)
    for turn in (GIVE, WALK_GIVE) * 9:
        taken = await slots.take(turn)
        clock.now += 1
        slots.release(turn, unused=taken)
    for turn in (WALK_GIVE, GIVE) * 4:
        await slots.take(turn)
        slots.release(turn)
    with pytest.raises(NotYet):
        await slots.take(GIVE)


async def test_a_pause_holds_everybody_and_a_long_one_sends_them_away(clock):
    slots, order = Slots(1, [], clock, patience_s=5), []
    await slots.take(GIVE)
    slots.pause(4)
    [task] = waiting(slots, order, WITHDRAW)
    slots.release(GIVE)
    await turns()
    assert order == []
    slots.pause(60)
    with pytest.raises(NotYet, match=r"^rate_limited$") as caught:
        await task
    assert caught.value.after == pytest.approx(60)
    clock.now += 60
    await slots.take(WITHDRAW)


async def test_whoever_waits_too_long_for_a_slot_is_told(clock):
    slots = Slots(1, [], clock, patience_s=0.01)
    await slots.take(GIVE)
    with pytest.raises(NotYet, match=r"^busy$"):
        await slots.take(GIVE)
    slots.release(GIVE)
    await slots.take(GIVE)


async def test_whoever_gives_up_leaves_the_line(clock):
    slots, order = Slots(1, [], clock), []
    await slots.take(GIVE)
    first, second = waiting(slots, order, GIVE, GIVE)
    await turns()
    first.cancel()
    slots.release(GIVE)
    await turns()
    assert order == ["11"]
    await second


async def test_a_slot_that_was_granted_to_whoever_gives_up_is_not_lost(clock):
    slots, order = Slots(1, [DAY], clock), []
    await slots.take(GIVE)
    first, second = waiting(slots, order, GIVE, GIVE)
    await turns()
    slots.release(GIVE)
    first.cancel()
    await turns()
    assert order == ["11"]
    await second
    for _ in range(6):
        slots.release(GIVE)
        await slots.take(GIVE)
    slots.release(GIVE)
    with pytest.raises(NotYet):
        await slots.take(GIVE)


async def test_whoever_is_cancelled_while_being_sent_away_leaves_the_slots_as_they_were(clock):
    slots, order = Slots(1, [], clock, patience_s=5), []
    await slots.take(GIVE)
    [refused] = waiting(slots, order, GIVE)
    await turns()
    slots.pause(60)
    slots.release(GIVE)  # refuses
    refused.cancel()
    await turns()
    sent_away, cancelled = waiting(slots, order, WITHDRAW, GIVE)
    clock.now += 58
    await turns()
    cancelled.cancel()
    slots.pause(60)  # meets one that is cancelled already
    with pytest.raises(NotYet):
        await sent_away
    assert refused.cancelled()
    clock.now += 60
    await slots.take(GIVE)
    tasks = waiting(slots, order, GIVE)
    await turns()
    assert order == []
    slots.release(GIVE)
    await asyncio.gather(*tasks)


async def test_a_walk_that_live_requests_leave_no_token_uses_up_none_of_its_own(clock):
    slots = Slots(9, [DAY], clock)
    for _ in range(8):
        await slots.take(GIVE)
        slots.release(GIVE)
    clock.now += 400
    for _ in range(4):
        with pytest.raises(NotYet):
            await slots.take(WALK_GIVE)
    clock.now += 86_000
    await slots.take(WALK_GIVE)


async def test_a_destination_is_asked_so_much_at_once_and_no_more(opened, remote):
    remote.free.clear()
    async with opened(concurrency=3) as client:
        tasks = [asyncio.create_task(client.perform(asked(remote.url), always, gives=True)) for _ in range(7)]
        while remote.held < 3:
            await asyncio.sleep(0)
        remote.free.set()
        await asyncio.gather(*tasks)
    assert remote.most_held == 3
    assert len(remote.received) == 7


async def test_a_destination_that_is_busy_is_left_alone_by_everybody(opened, remote, clock):
    remote.answers = [answer(429, {"Retry-After": "60"}), OK]
    async with opened() as client:
        with pytest.raises(Retry) as caught:
            await client.perform(asked(remote.url), always, gives=True)
        assert (caught.value.reason, caught.value.after) == ("http_429", 60.0)
        with pytest.raises(NotYet) as caught:
            await client.perform(asked(remote.url), always, gives=False)
        assert caught.value.after == pytest.approx(60)
        assert len(remote.received) == 1
        clock.now += 60
        await client.perform(asked(remote.url), always, gives=True)


async def test_the_gate_is_asked_after_all_waiting(opened, remote):
    asked_at = []

    async def allow(request):
        asked_at.append(len(remote.received))

    remote.free.clear()
    async with opened(concurrency=1) as client:
        tasks = [asyncio.create_task(client.perform(asked(remote.url), allow, gives=True)) for _ in range(3)]
        while remote.held < 1:
            await asyncio.sleep(0)
        assert asked_at == [0]
        remote.free.set()
        await asyncio.gather(*tasks)
    assert asked_at == [0, 1, 2]


async def test_what_was_not_allowed_uses_up_no_rate(opened, remote):
    async def refuse(request):
        raise Skip("no_consent")

    async with opened(rates=("2/day",)) as client:
        for _ in range(5):
            with pytest.raises(Skip):
                await client.perform(asked(remote.url), refuse, gives=True)
        for _ in range(2):
            await client.perform(asked(remote.url), always, gives=True)
        with pytest.raises(NotYet):
            await client.perform(asked(remote.url), always, gives=True)
    assert len(remote.received) == 2
