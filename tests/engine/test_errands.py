"""What commands ask of the running process: carried out once each, with an answer, and harmless to repeat."""

import json

import pytest

from stream.core.envelope import Limits
from stream.errands import Errands
from stream.message import Message
from stream.worker import Worker
from tests.embedded import Embedded, config, message
from tests.engine.outcome import finish, ready

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")

BAD = {"event": "Order Completed", "properties": {"revenue": "x"}}


@pytest.fixture
async def system(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles", "deletion", "examples.orders"])) as system:
        await ready(system)
        yield system


@pytest.fixture
def ask(system):
    """Asks, has it carried out, and gives the answer."""
    worker = Worker(system.around, [projector.projection for projector in system.projectors.values()], False)
    worker.projectors = system.projectors
    errands = Errands(system.around, worker, Limits(events=100, depth=20))

    async def ask(kind, **args):
        number = await system.store.requests.ask(kind, args, "ops", 1_000.0)
        assert await errands.step() == 1
        assert await errands.step() == 0
        done = await system.store.requests.get(number)
        assert done.args == {}
        return done.result

    return ask


async def held(system):
    await system.send(message("track", 1, userId="u1", **BAD))
    await system.read()
    (one,) = await system.store.held.page()
    return one


async def test_somebody_is_forgotten_with_an_operators_authority(system, ask):
    await system.send(message("identify", 1, userId="7", traits={"plan": 1}))
    await system.read()
    assert (await ask("forget", userId="7")).startswith("operator-")
    await finish(system)
    assert await system.person("user:7") is None
    (deletion,) = await system.store.deletions.every()
    assert (deletion.authority, deletion.state, deletion.time) == ("operator", "done", 1_000.0)


async def test_somebody_is_forgotten_in_their_space_alone(system, ask):
    await system.send(message("identify", 1, userId="7", traits={"plan": 1}))
    await system.send(message("identify", 1, {"space": "staging"}, userId="7", traits={"plan": 2}))
    await system.read()
    await ask("forget", userId="7", space="staging")
    await finish(system)
    assert await system.person("staging/user:7") is None
    assert (await system.person("user:7")).traits == {"plan": 1}


async def test_a_held_delivery_is_tried_again_and_stays_if_it_dies_again(system, ask):
    one = await held(system)
    assert await ask("held.retry", id=one.id) == "held:bug:ValueError"
    await system.store.held.edit(one.id, one.delivery.message.value.replace(b'"x"', b"3"))
    assert await ask("held.retry", id=one.id) == "applied"
    assert await ask("held.retry", id=one.id) == "left before"
    assert (await system.fates())["orders"] == {"held": 1, "left:applied": 1}


async def test_a_dropped_delivery_has_left_and_is_counted_as_dropped(system, ask):
    one = await held(system)
    assert await ask("held.drop", id=one.id) == "dropped"
    assert await ask("held.drop", id=one.id) == "not done: it is not held any more"
    assert (await system.fates())["orders"] == {"held": 1, "left:dropped": 1}


async def test_what_nobody_knows_or_runs_is_not_done_and_says_why(system, ask):
    assert await ask("dance") == "not done: nobody knows how to dance"
    assert await ask("resume", processor="nobody") == "not done: nobody does not run here"
    assert await ask("resume", processor="orders") == "it was not stopped"
    one = await held(system)
    del system.projectors["orders"]
    assert await ask("held.retry", id=one.id) == "not done: orders does not run"


async def test_an_invalid_message_is_appended_again_once_it_is_understood(system, ask):
    given = (("source", b"test"), ("received", b"5.0"), ("signed", b"1"), ("reason", b"unknown_type"))
    good = json.dumps({"type": "track", "userId": "u1", "event": "A", "messageId": "m1"}).encode()
    await system.send(Message("segment.invalid", b"k", b"{", given), Message("segment.invalid", b"k", good, given))
    bad, mended = await system.topic("segment.invalid")

    def named(delivery):
        return {"part": delivery.partition.number, "offset": delivery.offset, "time": delivery.time}

    assert (await ask("invalid.retry", **named(bad))).startswith("not done: still invalid: ")
    assert await ask("invalid.retry", **named(mended)) == "appended 1"
    await system.read()
    assert (await system.person("user:u1")).events == {"A": 1}
    assert await system.store.requests.retried() == {(mended.partition.number, mended.offset)}
    assert "no longer holds" in await ask("invalid.retry", **{**named(mended), "offset": 99})
