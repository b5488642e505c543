"""The gate: what may be given to whom, as the store knows them."""

import pytest

from stream.store.identifiers import MOST
from tests.embedded import message
from tests.engine.gates import EMAIL, STAGING, opened, says, signs_up, subscribed

pytestmark = pytest.mark.usefixtures("each_store_if_exhaustive")


@pytest.mark.parametrize(
    ("given", "reasons"),
    [
        (None, {"ads": "no_consent", "measuring": None, "both": "no_consent", "service": None, "internal": None}),
        ({"Advertising": True}, {"ads": None, "measuring": "no_consent", "both": "no_consent", "internal": None}),
        ({"Advertising": True, "Analytics": True}, {"ads": None, "measuring": None, "both": None}),
        ({"Advertising": False, "Analytics": True}, {"ads": "no_consent", "measuring": None, "both": "no_consent"}),
        ({"advertising": True}, {"ads": "no_consent"}),
        ({}, {"ads": "no_consent", "measuring": "no_consent", "service": None, "internal": None}),
    ],
)
async def test_each_category_of_a_purpose_must_be_a_yes_and_unknown_is_what_the_purpose_says(tmp_path, given, reasons):
    async with opened(tmp_path) as asking:
        await asking.knows(says(given=given))
        assert {purpose: await asking.refuses(purpose) for purpose in reasons} == reasons


@pytest.mark.parametrize(
    ("status", "mail", "news"),
    [
        ("SUBSCRIBED", None, None),
        ("UNSUBSCRIBED", "opted_out", "opted_out"),
        ("DID_NOT_SUBSCRIBE", "opted_out", "opted_out"),
        (None, "no_consent", None),
    ],
)
async def test_who_opted_out_of_a_channel_is_not_reached_by_it(tmp_path, status, mail, news):
    async with opened(tmp_path) as asking:
        await asking.knows(subscribed(status))
        assert (await asking.refuses("mail"), await asking.refuses("news")) == (mail, news)
        assert await asking.refuses("service") is None


async def test_an_opt_out_of_one_address_counts_there_and_wherever_the_address_is_not_known(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(
            subscribed("SUBSCRIBED", 1.0),
            subscribed("UNSUBSCRIBED", 2.0, key="Old@b.c"),
        )
        assert await asking.refuses("mail", address=EMAIL) is None
        assert await asking.refuses("mail", address="email:old@b.c") == "opted_out"
        assert await asking.refuses("mail", address="email: OLD@b.c") == "opted_out"
        assert await asking.refuses("mail", address="user_id:1") == "opted_out"
        assert await asking.refuses("mail") == "opted_out"


async def test_a_subscription_of_the_address_is_enough_where_unknown_is_denied(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(subscribed("SUBSCRIBED", key="a@b.c"))
        assert await asking.refuses("mail", address=EMAIL) is None
        assert await asking.refuses("mail", address="email:x@b.c") == "no_consent"


async def test_an_opt_out_by_trait_counts_until_it_is_taken_back(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(signs_up(1.0, email_opt_out=True, newsletter=True))
        assert (await asking.refuses("mail"), await asking.refuses("news")) == ("opted_out", "opted_out")
        await asking.knows(signs_up(2.0, email_opt_out=False))
        assert (await asking.refuses("mail"), await asking.refuses("news")) == (None, None)
        await asking.knows(signs_up(3.0, newsletter=False))
        assert (await asking.refuses("mail"), await asking.refuses("news")) == (None, "opted_out")


async def test_an_opt_out_that_is_in_the_store_is_honoured_by_the_next_question(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}))
        assert await asking.refuses() is None
        await asking.knows(says(2.0, given={"Advertising": False}))
        assert await asking.refuses() == "no_consent"
        await asking.knows(says(3.0, given={"Advertising": True}))
        assert await asking.refuses() is None


@pytest.mark.parametrize(
    ("known", "own", "reason"),
    [
        ({"Advertising": True}, {"Advertising": False}, "no_consent"),
        ({"Advertising": True}, {}, "no_consent"),
        ({"Advertising": False}, {"Advertising": True}, "no_consent"),
        ({"Advertising": True}, {"Advertising": True}, None),
        ({"Advertising": True}, None, None),
        (None, {"Advertising": True}, None),
        (None, {"Advertising": False}, "no_consent"),
    ],
)
async def test_the_stricter_of_the_store_and_the_events_own_consent_counts(tmp_path, known, own, reason):
    async with opened(tmp_path) as asking:
        await asking.knows(says(given=known))
        assert await asking.refuses(consent=own) == reason


async def test_linked_subjects_that_differ_are_a_conflict_until_a_consent_after_the_link_decides(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(
            says(1.0, userId=None, anonymousId="9", given={"Advertising": False}),
            says(2.0, given={"Advertising": True}),
        )
        assert (await asking.refuses(), await asking.refuses(subject="anon:9")) == (None, "no_consent")
        await asking.knows(message("identify", 3.0, userId="1", anonymousId="9"))
        assert (await asking.refuses(), await asking.refuses(subject="anon:9")) == ("conflict", "conflict")
        assert await asking.refuses("internal") is None
        await asking.knows(says(4.0, given={"Advertising": True}))
        assert (await asking.refuses(), await asking.refuses(subject="anon:9")) == (None, None)


async def test_linked_subjects_that_differ_about_a_channel_are_a_conflict(tmp_path):
    async with opened(tmp_path) as asking:
        anonymous = {"messaging_subscriptions": [{"type": "email", "status": "UNSUBSCRIBED"}]}
        await asking.knows(
            message("page", 1.0, anonymousId="9", context=anonymous),
            subscribed("SUBSCRIBED", 2.0),
            message("identify", 3.0, userId="1", anonymousId="9"),
        )
        assert await asking.refuses("mail") == "conflict"


async def test_a_consent_of_a_linked_anonymous_subject_counts_for_the_person(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(
            says(1.0, userId=None, anonymousId="9", given={"Advertising": True}),
            message("identify", 3.0, userId="1", anonymousId="9"),
        )
        assert await asking.refuses() is None


async def test_everybody_who_shares_an_address_must_allow_it(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(
            *[signs_up(1.0, userId=one, email="A@b.c") for one in "12"],
            *[says(2.0, userId=one, given={"Advertising": True}) for one in "12"],
        )
        assert await asking.refuses(address=EMAIL) is None
        await asking.knows(says(3.0, userId="2", given={"Advertising": False}))
        assert await asking.refuses(address=EMAIL) == "no_consent"
        assert await asking.refuses(address="email:a@B.C") == "no_consent"
        assert await asking.refuses(address="email:other@b.c") is None
        assert await asking.refuses() is None


async def test_who_never_said_anything_does_not_speak_for_another_one_at_the_same_address(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(
            *[signs_up(1.0, userId=one, email="a@b.c") for one in "12"],
            message("identify", 1.0, anonymousId="9", traits={"email": "A@b.c"}),
            says(2.0, given={"Advertising": True}),
            subscribed("SUBSCRIBED", 2.0),
        )
        assert (await asking.refuses(address=EMAIL), await asking.refuses("mail", address=EMAIL)) == (None, None)
        assert await asking.refuses(address=EMAIL, subject="anon:9") == "no_consent"
        assert await asking.refuses(address=EMAIL, subject="user:2", consent={"Advertising": True}) is None
        await asking.knows(says(3.0, userId=None, anonymousId="9", given={"Advertising": False}))
        assert await asking.refuses(address=EMAIL) == "no_consent", "a no counts"
        assert await asking.refuses(address=EMAIL, consent={"Advertising": True}) == "no_consent"


async def test_an_opt_out_of_an_address_counts_where_the_destination_knows_people_by_another_kind(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(subscribed("UNSUBSCRIBED", key=" A@b.c "))
        ways = ("crm_id:77", "phone:+49", "user_id:1", EMAIL, "email:x@b.c")
        reasons = [await asking.refuses("news", address=address) for address in ways]
        assert reasons == ["opted_out", "opted_out", "opted_out", "opted_out", None]


async def test_the_same_id_in_another_space_shares_the_address_if_there_is_somebody(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(says(1.0, given={"Advertising": True}))
        assert await asking.refuses(address="user_id:1") is None
        await asking.knows(says(2.0, STAGING, given={"Advertising": False}))
        assert await asking.refuses(address="user_id:1") == "no_consent"
        assert await asking.refuses(address="user_id:1", subject="staging/user:1") == "no_consent"
        assert await asking.refuses() is None


async def test_who_stands_for_nobody_has_no_say_about_an_address(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(
            signs_up(1.0, userId="null", email="a@b.c"),
            says(1.0, userId="null", given={"Advertising": False}),
            signs_up(1.0, email="a@b.c"),
            says(2.0, given={"Advertising": True}),
        )
        assert await asking.refuses(address=EMAIL) is None


@pytest.mark.slow
async def test_an_address_of_too_many_to_ask_is_reached_only_where_nothing_needs_to_be_asked(tmp_path):
    async with opened(tmp_path) as asking:
        await asking.knows(
            *[signs_up(1.0, userId=str(n), email="a@b.c") for n in range(1, MOST + 2)],
            says(2.0, given={"Advertising": True}),
        )
        assert await asking.refuses(address=EMAIL) == "shared"
        assert await asking.refuses("internal", address=EMAIL) is None
