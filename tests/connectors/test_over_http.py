"""A webhook's requests reach a real server through the real client, and its state is what was asked for."""

import pytest
from prometheus_client import CollectorRegistry

from stream.building import build
from stream.config import Config
from stream.connector import Change
from stream.errors import Dead, Retry
from stream.events import decode
from stream.http import Client
from stream.message import Message
from stream.telemetry import Metrics
from tests.destination import TOKEN, Answer, Destination, config

ADA = "ada+new/1@example.com"  # what must be quoted in a path


def change(thing, value, person=ADA):
    return Change(f"email:{person}", thing, value)


@pytest.fixture
async def destination():
    async with Destination.open() as destination:
        yield destination


@pytest.fixture(params=[1, 3])
def crm(request, destination):
    return build(Config(connectors={"crm": config(destination.port, request.param)}))


@pytest.fixture
async def run(crm):
    async def allowed(request):
        return None

    async with Client.open(crm.limits, lambda: 0.0, Metrics(CollectorRegistry())) as client:
        yield lambda flow, gives=True: client.perform(flow, allowed, gives)


async def test_every_verb_changes_what_the_destination_has(crm, destination, run):
    connector = crm.connectors["crm"]
    await run(connector.upsert_profile([change("profile", {"plan": "pro"})]))
    await run(connector.set_membership([change("list:vip", True)]))
    await run(connector.set_consent([change("consent:email", False)]))
    assert destination.has("vip", ADA)
    assert destination.people == {ADA: {"plan": "pro"}}
    assert destination.consents == {ADA: {"email": False}}
    assert all(seen.headers["authorization"] == f"Bearer {TOKEN}" for seen in destination.seen)
    assert all(seen.about == (ADA,) for seen in destination.seen)
    await run(connector.set_membership([change("list:vip", False)]))
    assert destination.lists == {"vip": set()}
    await run(connector.delete_person([change("person", None)]))
    await run(connector.delete_person([change("person", None)]))  # 404: nobody is there
    assert (destination.people, destination.consents) == ({}, {})
    value = b'{"type":"track","userId":"1"}'
    await run(connector.send_event(decode(Message("segment.track", b"1", value, ()))))
    assert destination.events == [{"type": "track", "userId": "1"}]


async def test_the_destination_answers_as_it_is_told_and_keeps_count(crm, destination, run):
    def join(person):
        return run(crm.connectors["crm"].set_membership([change("list:vip", True, person)]))

    destination.on(Answer(status=429, headers={"Retry-After": "7"}), people={"1"}, times=1)
    destination.on(Answer(status=422), people={"2"})
    destination.on(Answer(ends="reset", effect="before"), people={"3"}, times=1)
    destination.on(Answer(ends="cut"), people={"4"}, times=1)
    for person, expected in (("2", Dead), ("3", Retry), ("4", Retry), ("1", Retry)):
        with pytest.raises(expected) as raised:
            await join(person)
    assert raised.value.after == 7
    assert destination.lists == {"vip": {"3", "4"}}
    assert [seen.about for seen in destination.asked()] == [("2",), ("3",), ("4",), ("1",)]
    assert (destination.most_at_once, destination.most_at_once_of_one, destination.at_once) == (1, 1, 0)
