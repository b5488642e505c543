import asyncio

import pytest

from stream.together import Together


async def test_who_asks_while_a_call_is_under_way_shares_the_next_one():
    calls, go = [], asyncio.Event()

    async def call(asked):
        calls.append(list(asked))
        await go.wait()
        return [2 * one for one in asked]

    together = Together(call)
    first = asyncio.create_task(together.ask(1))
    while not calls:
        await asyncio.sleep(0)
    others = asyncio.gather(together.ask(2), together.ask(3))
    await asyncio.sleep(0)
    go.set()
    assert (await first, await others) == (2, [4, 6])
    assert calls == [[1], [2, 3]]


async def test_what_a_call_raises_is_raised_to_each_who_asked_and_the_next_call_is_made():
    async def call(asked):
        if 1 in asked:
            raise ValueError("no")
        return asked

    together = Together(call)
    found = await asyncio.gather(together.ask(1), together.ask(2), return_exceptions=True)
    assert [type(one) for one in found] == [ValueError, ValueError]
    assert await together.ask(2) == 2


async def test_who_is_cancelled_leaves_the_others_their_answers():
    async def call(asked):
        await asyncio.sleep(0)
        return asked

    together = Together(call)
    first, second = asyncio.create_task(together.ask(1)), asyncio.create_task(together.ask(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_no_call_is_larger_than_the_most():
    sizes = []

    async def call(asked):
        sizes.append(len(asked))
        return asked

    together = Together(call, most=2)
    assert await asyncio.gather(*(together.ask(n) for n in range(5))) == list(range(5))
    assert sizes == [2, 2, 1]
