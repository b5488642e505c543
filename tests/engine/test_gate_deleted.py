"""The gate: who is to be forgotten, or said something that is not understood, is given nothing."""

import pytest

from stream.gate import Question
from tests.embedded import message
from tests.engine.gates import EMAIL, NOW, opened, says, signs_up

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")


async def test_what_is_older_than_a_deletion_is_not_given_for_any_purpose(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}), message("delete", 5.0, userId="1"))
        assert [await asking.refuses("internal", time=time) for time in (1.0, 5.0)] == ["deleted", "deleted"]
        assert await asking.refuses("internal", time=6.0) == "deleting"
        await asking.system.settle()
        assert await asking.refuses("internal", time=5.0) == "deleted"
        assert await asking.refuses("internal", time=6.0) is None


async def test_what_comes_of_no_event_is_not_given_once_nothing_is_left_of_the_deleted(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}), message("delete", 5.0, userId="1"))
        assert await asking.refuses("service") == "deleted"
        await asking.system.settle()
        assert await asking.refuses("service") == "deleted"
        await asking.knows(says(6.0))
        assert (await asking.refuses("service"), await asking.refuses("ads")) == (None, "no_consent")


async def test_a_destination_that_has_still_to_delete_is_given_nothing_about_who_returned(tmp_path):
    async with opened(tmp_path) as asking:
        deletions = asking.system.store.deletions
        deletions.destinations, deletions.deletable = {"crm": ("email",)}, {"crm"}
        await asking.knows(
            signs_up(1.0, email="a@b.c"), signs_up(1.5, userId="2", email="a@b.c"), message("delete", 5.0, userId="1")
        )
        await asking.system.settle()
        await asking.knows(message("identify", 6.0, userId="1", anonymousId="9"))
        await asking.system.settle()
        assert await asking.refuses("service") == "deleting"
        assert await asking.refuses("service", subject="anon:9") == "deleting"
        assert await asking.refuses("service", subject="user:2", address=EMAIL) == "deleting"
        assert await asking.refuses("service", subject="user:2", address="email: A@B.c") == "deleting"
        assert await asking.refuses("service", subject="user:2") is None
        other = Question("mailer", "user:1", "service", EMAIL)
        assert await asking.gate.refusals([other]) == [None]
        await asking.system.store.db.writing(lambda tx: deletions.settled(tx, "crm", [EMAIL], "deleted", NOW))
        assert await asking.refuses("service", address=EMAIL) is None


async def test_somebody_whose_consent_could_not_be_understood_is_given_nothing(tmp_path):
    unclear = message("track", 2.0, userId="1", event="Segment Consent Preference Updated")
    async with opened(tmp_path) as asking:
        await asking.knows(
            says(1.0, given={"Advertising": True}), signs_up(1.0, userId="2", email="a@b.c"), says(1.0, userId="3")
        )
        await asking.knows(signs_up(1.5, email="a@b.c"), unclear)
        assert (await asking.refuses(), await asking.refuses("internal")) == ("consent_held", "consent_held")
        assert await asking.refuses("service", subject="user:2", address=EMAIL) == "consent_held"
        assert await asking.refuses("service", subject="user:3") is None
        (held,) = await asking.system.store.held.page()
        await asking.system.store.db.writing(lambda tx: asking.system.store.held.remove(tx, held.id))
        assert await asking.refuses() is None
