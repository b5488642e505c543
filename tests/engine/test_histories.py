"""Any order, duplication and split of a history, through the real engine, ends in the same people (design §8)."""

import asyncio
import os
import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.config import Config, IdentityConfig, PublishConfig
from stream.message import Message
from tests.embedded import Embedded, message
from tests.engine.outcome import UNMARKED, Outcome, finish, outcome, published, ready, without

SUBJECTS = [f"{kind}:{id}{n}" for kind in ("user", "anon") for id in "ua" for n in (1, 2, 3)] + ["group:g1", "group:g2"]
STEPS = ["profiles", "audiences", "consent", "deletion", "eraser"]
CONFIG = Config(
    identity=IdentityConfig(alias=True),
    publish=PublishConfig(profile=True),
    processors={"profiles": {}, "audiences": {}, "consent": {"given_by": {"newsletter": "list:n"}}, "deletion": {}},
)
PERSONAS = {"computation_class": "audience", "computation_key": "vip", "space_id": "s1"}
MANY = os.environ.get("SLOW") == "1" or os.environ.get("CI") == "true"

USERS = st.sampled_from(["u1", "u2", "u3"])
ANONS = st.sampled_from(["a1", "a2", "a3"])
SAID = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["identify", "identify", "track", "track", "page", "group", "alias", "delete"]),
        "received": st.integers(1, 9),
        "late": st.sampled_from([0, 0, 1, 3, -5]),  # seconds between event and receipt; below 0: a clock ahead
        "value": st.integers(0, 2),
        "vip": st.none() | st.booleans(),
        "consents": st.none() | st.booleans(),
    },
    optional={"user": USERS, "anon": ANONS, "group": st.sampled_from(["g1", "g2"]), "previous": USERS | ANONS},
)


def said(number: int, kind: str, received: int, late: int = 0, **more: Any) -> Message:
    """One message of a history. Its headers are its own, whenever it is read."""
    value, vip, consents = more.get("value", 0), more.get("vip"), more.get("consents")
    context: dict[str, Any] = {"traits": {"email": f"{value}@b.c"}} if value == 2 else {}
    values: dict[str, Any] = {"plan": value, "newsletter": bool(value)}
    if vip is not None:
        context["personas"] = PERSONAS
        values["vip"] = vip
    if consents is not None:
        context["consent"] = {"categoryPreferences": {"ads": consents}}
    body: dict[str, Any] = {
        "messageId": f"m{number}",
        "timestamp": datetime.fromtimestamp(1_000 + received - late, UTC).isoformat(),
        "context": context,
        "traits" if kind in ("identify", "group") else "properties": values,
        "event": "Viewed",
    }
    ids = {"user": "userId", "anon": "anonymousId", "group": "groupId", "previous": "previousId"}
    return message(kind, 1_000 + received, **body, **{ids[name]: more[name] for name in ids if name in more})


async def play(history: list[list[Message]], plan: list[list[str]]) -> Outcome:
    """Sends each part, takes the planned steps after it, and at last brings everything to its end."""
    with tempfile.TemporaryDirectory() as folder:
        async with Embedded.open(Path(folder), CONFIG) as system:
            await ready(system)
            for part, steps in zip(history, plan, strict=True):
                await system.send(*part)
                for step in steps:
                    await (system.eraser.step() if step == "eraser" else system.step(step))
            await finish(system)
            ended = await outcome(system, SUBJECTS)
            await every_delivery_has_one_fate(system, sum(map(len, history)))
            profiles = await published(system)
    the_published_people_are_the_people(profiles, ended.people)
    return ended


async def every_delivery_has_one_fate(system: Embedded, sent: int) -> None:
    raw = {f"segment.{kind}" for kind in ("track", "identify", "page", "group", "alias", "delete")}
    bounds = await system.log.bounds(raw)
    assert sum(end for _, end in bounds.values()) == sent
    fates = await system.fates()
    for name, projector in system.projectors.items():
        read = {f"segment.{kind}" for kind in projector.projection.topics}
        expected = sum(end for partition, (_, end) in bounds.items() if partition.topic in read)
        tallied = sum(n for fate, n in fates.get(name, {}).items() if not fate.startswith("left:"))
        assert tallied == expected


def the_published_people_are_the_people(profiles: dict[str, Any], people: dict[str, Any]) -> None:
    """The newest person.profile of each key says what the store says, but for what nobody is published for."""
    for key, profile in profiles.items():
        assert people.get(key) is not None and people[key]["key"] == key, f"{key} should be null"
        assert profile["subjects"] == people[key]["subjects"]
        assert _settled(profile) == _settled(people[key])
    for person in filter(None, people.values()):
        if person["traits"] or person["identifiers"].get("email") or person["audiences"] or person["consents"]:
            assert person["key"] in profiles


def _settled(person: dict[str, Any]) -> dict[str, Any]:
    found = without(person, UNMARKED)
    for consent in [*found["consents"].values(), *found["subscriptions"].values()]:
        consent["proofs"] = None  # a repeated answer moves its proof, and marks nobody
    for membership in found["audiences"].values():
        membership["time"] = None
    return found


def split(messages: list[Message], cuts: list[int]) -> list[list[Message]]:
    edges = [0, *sorted(cut % (len(messages) + 1) for cut in cuts), len(messages)]
    return [messages[start:end] for start, end in pairwise(edges)]


@settings(
    max_examples=200 if MANY else 15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=not MANY
)
@given(history=st.lists(SAID, min_size=1, max_size=10), data=st.data())
@pytest.mark.slow
def test_any_order_duplication_and_split_of_a_history_ends_in_the_same_people(history: Any, data: Any) -> None:
    messages = [said(number, **fields) for number, fields in enumerate(history)]
    expected = asyncio.run(play([messages], [[]]))
    again = data.draw(st.lists(st.sampled_from(messages), max_size=4))
    shuffled = data.draw(st.permutations(messages + again))
    parts = split(shuffled, data.draw(st.lists(st.integers(0, 20), max_size=4)))
    plan = [data.draw(st.lists(st.sampled_from(STEPS), max_size=8)) for _ in parts]
    assert asyncio.run(play(parts, plan)) == expected
