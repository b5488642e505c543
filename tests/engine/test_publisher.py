"""What is published: whoever changed, once more after a crash, null for whoever is gone, nothing for mere counts."""

import msgspec
import pytest
import structlog
from msgspec import structs

from stream import topics
from stream.errors import TooLarge
from stream.publisher import Publisher
from tests.embedded import Embedded, config, message
from tests.engine.outcome import published, ready

pytestmark = pytest.mark.usefixtures("each_store")

YES, NO = ({"consent": {"categoryPreferences": {"ads": word}}} for word in (True, False))


async def changed(system):
    return [msgspec.json.decode(delivery.message.value) for delivery in await system.topic(topics.PERSON_CHANGED)]


async def test_who_changed_is_said_by_key_and_facet_and_no_trait_is_in_it(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        email = {"email": "ann@b.c"}
        await system.send(message("identify", 1, userId="u1", anonymousId="a9", traits=email, context=YES))
        await system.read()
        found = await changed(system)
        assert {one["person"] for one in found} == {"user:u1"}
        assert {facet for one in found for facet in one["facets"]} == {"traits", "identity", "consent"}
        assert [one["revision"] for one in found] == sorted(one["revision"] for one in found)
        assert all(b"ann" not in d.message.value for d in await system.topic(topics.PERSON_CHANGED))


async def test_one_batch_publishes_a_person_once_however_often_it_changed(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, ["profiles"])) as system:
        await ready(system)
        await system.send(*[message("identify", n, userId="u1", traits={"plan": n}) for n in range(1, 50)])
        await system.read()
        assert len(await changed(system)) == 1
        assert (await published(system))["user:u1"]["traits"] == {"plan": 49}


async def test_counts_sightings_and_repeats_publish_nobody(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 1, userId="u1", traits={"plan": 1}, context=YES))
        await system.read()
        before = len(await changed(system))
        await system.send(
            message("identify", 2, userId="u1", traits={"plan": 1}, context=YES),
            message("track", 3, userId="u1", event="A"),
            message("page", 4, userId="u2"),
        )
        await system.read()
        assert len(await changed(system)) == before


async def test_marks_that_were_never_published_are_published_at_the_next_start(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 1, userId="u1", traits={"plan": 1}))

        async def cut_off(marks, recovering=False):
            return None

        system.projectors["profiles"]._publisher.publish = cut_off
        await system.read()
        assert await published(system) == {}
    async with Embedded.open(tmp_path) as system:
        assert (await published(system))["user:u1"]["traits"] == {"plan": 1}
        assert await system.store.marks.open("profiles") == []


async def test_who_joins_publishes_what_was_left_and_does_not_wait_for_members_that_mark_all_the_time(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        store, publisher = system.store, system.projectors["profiles"]._publisher
        await store.db.writing(lambda tx: store.marks.add(tx, "profiles", [("user:left", "profile")]))
        append, rounds = system.log.append, []

        async def busy(messages):
            rounds.append(messages)
            assert len(rounds) < 10
            wanted = [(f"user:{len(rounds)}", "profile")]
            await store.db.writing(lambda tx: store.marks.add(tx, "profiles", wanted))  # elsewhere
            await append(messages)

        system.log.append = busy
        await publisher.recover()
        assert [mark.subject for mark in await store.marks.open("profiles")] == ["user:1"]


async def test_a_key_that_was_renamed_just_before_a_crash_is_nulled_at_the_next_start(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(message("identify", 1, anonymousId="a9", traits={"plan": 1}))
        await system.read()
        publisher = system.projectors["profiles"]._publisher

        async def cut_off(marks, recovering=False):
            return None

        publisher.publish = cut_off
        await system.send(message("identify", 2, userId="u1", anonymousId="a9"))
        await system.read()
        assert list(await published(system)) == ["anon:a9"]
    async with Embedded.open(tmp_path) as system:
        assert list(await published(system)) == ["user:u1"]


async def test_a_person_loses_its_key_when_a_link_that_does_not_name_it_joins_two_people(tmp_path):
    async with Embedded.open(tmp_path, config(tmp_path, alias=True)) as system:
        await ready(system)
        await system.send(message("alias", 1, userId="u3", previousId="u2"))
        await system.read()
        assert list(await published(system)) == ["user:u2"]
        await system.send(message("alias", 2, userId="u1", previousId="u3"))  # u2 is in neither
        await system.read()
        assert list(await published(system)) == ["user:u1"]


async def test_without_profiles_nothing_but_the_change_is_published(tmp_path):
    async with Embedded.open(tmp_path) as system:
        for projector in system.projectors.values():
            projector._publisher._profile = False
        await ready(system)
        await system.send(message("identify", 1, userId="u1", traits={"plan": 1}))
        await system.read()
        assert len(await changed(system)) == 1
        assert await system.topic(topics.PERSON_PROFILE) == []


async def test_an_answer_that_decides_between_two_subjects_is_published_though_it_is_repeated(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        for sent in (
            message("identify", 1, userId="u1", context=NO),
            message("track", 2, userId="u1", anonymousId="a9", event="A"),
            message("page", 3, anonymousId="a9", context=YES),
        ):
            await system.send(sent)
            await system.read()
        assert (await published(system))["user:u1"]["consents"]["ads"]["status"] == "yes"
        await system.send(message("page", 4, userId="u1", context=NO))
        await system.read()
        assert (await system.person("user:u1")).consent("ads") == "no"
        assert (await published(system))["user:u1"]["consents"]["ads"]["status"] == "no"


async def test_an_answer_that_is_repeated_publishes_nothing_where_nobody_differs(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        await system.send(
            message("identify", 1, userId="alone", context=NO),
            message("page", 1, anonymousId="stranger", context=YES),
            message("identify", 1, userId="u1", context=YES),
            message("track", 2, userId="u1", anonymousId="a9", event="A"),
            message("page", 3, anonymousId="a9", context=YES),
        )
        await system.read()
        before = len(await changed(system))
        await system.send(
            message("identify", 4, userId="alone", context=NO),
            message("page", 5, anonymousId="a9", context=YES),
            message("page", 6, userId="u1", context=YES),
        )
        await system.read()
        assert len(await changed(system)) == before
        assert (await system.person("user:u1")).consents["ads"].proofs[0].time == 6.0


class Small:
    """A log that refuses by itself what is larger than its bound, as Kafka does."""

    def __init__(self, log, limit):
        self._log, self._limit = log, limit

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def append(self, messages):
        small = [one for one in messages if len(one.value or b"") <= self._limit]
        await self._log.append(small)
        if large := [one for one in messages if one not in small]:
            raise TooLarge(large)


async def test_a_person_that_the_log_refuses_for_its_size_holds_nobody_else_up_and_is_named_nowhere(tmp_path):
    async with Embedded.open(tmp_path) as system:
        await ready(system)
        around = structs.replace(system.around, log=Small(system.log, 2_000))
        projector = system.projectors["profiles"]
        projector._publisher = Publisher("profiles", around, True)
        await system.send(
            message("identify", 1, userId="big", traits={"note": "ann@b.c " * 500}),
            message("identify", 1, userId="small", traits={"plan": "pro"}),
        )
        with structlog.testing.capture_logs() as said:
            await system.read()
        assert set(await published(system)) == {"user:small"}
        assert {one["person"] for one in await changed(system)} == {"user:big", "user:small"}
        assert await system.store.marks.open("profiles") == []
        (line,) = said
        assert line["event"] == "publishing_refused" and line["bytes"] > 4_000 and "ann" not in repr(line)
