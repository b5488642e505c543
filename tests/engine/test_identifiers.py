"""The identifiers index: it says what profiles say, in whatever order events, deletions and erasures came."""

import itertools
import json

import pytest

from processors.profiles import MAX_IDENTIFIERS
from tests.embedded import Embedded, message
from tests.engine.outcome import ready

pytestmark = pytest.mark.usefixtures("each_store")


async def index(system):
    return set(await system.store.db.reading(lambda tx: tx.all("SELECT subject, identifier FROM identifiers")))


async def rows(system):
    """What the index should hold: what is in the profiles of the embedded system."""
    profiles = "SELECT subject, value FROM rows WHERE tbl = 'profiles'"
    found = await system.store.db.reading(lambda tx: tx.all(profiles))
    return {(subject, name) for subject, value in found for name in json.loads(value).get("identifiers", ())}


def identify(time, email, **more):
    return message("identify", time, userId="1", traits={"email": email}, **more)


async def test_who_is_known_by_what_is_in_the_profiles_and_in_the_index_alike(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        external = {"externalIds": [{"collection": "users", "type": "phone", "id": "+1"}]}
        await system.send(
            identify(1, "A@b.c"),
            identify(2, "a@b.c"),
            message("track", 3, userId="1", context=external),
            message("page", 4, anonymousId="9", context={"traits": {"email": "a@b.c"}}),
        )
        await system.read()
        assert await index(system) == {
            ("user:1", "email:a@b.c"),
            ("user:1", "phone:+1"),
            ("anon:9", "email:a@b.c"),
        }
        assert await index(system) == await rows(system)


async def test_what_falls_out_of_a_full_profile_falls_out_of_the_index(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        for time in (1, 3, 2):
            await system.send(*[identify(time + n / 100, f"{time}-{n}@b.c") for n in range(MAX_IDENTIFIERS // 2)])
            await system.read("profiles")
        newest = {f"email:{time}-{n}@b.c" for time in (2, 3) for n in range(MAX_IDENTIFIERS // 2)}
        assert await index(system) == {("user:1", email) for email in newest}


EVENTS = (
    identify(1, "old@b.c"),
    message("delete", 5, userId="1"),
    identify(6, "new@b.c", anonymousId="9"),
    message("page", 2, anonymousId="9", context={"traits": {"email": "before@b.c"}}),
)


@pytest.mark.slow
async def test_of_the_deleted_only_what_is_younger_is_left_in_whatever_order_it_came(tmp_path):
    for number, order in enumerate(itertools.permutations(EVENTS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with Embedded.open(folder) as system:
            await ready(system)
            for one in order:
                await system.send(one)
                await system.read()
            await system.settle()
            assert await index(system) == await rows(system) == {("user:1", "email:new@b.c")}
