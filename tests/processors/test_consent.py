import pytest

from processors import consent
from processors.consent import PREFERENCES_UPDATED, Consent, Settings
from stream.building import Setting
from stream.config import Config
from stream.errors import ConfigError


@pytest.fixture
def projection():
    return Consent(
        Settings(given_by={"newsletter": "list:newsletter"}, withdrawn_by={"email_opt_out": "email", "dnc": "sms"})
    )


def prefers(preferences):
    return {"consent": {"categoryPreferences": preferences}}


def categories(ran, subject="user:u1"):
    return ran.rows["consent"][subject].categories["categories"].value


def subscriptions(ran, subject="user:u1"):
    return {name: said.value for name, said in ran.rows["consent"][subject].subscriptions.items()}


def test_the_reserved_event_gives_and_withdraws_with_proof(projection, event, run, base):
    ran = run(
        projection,
        [
            event("track", 1, userId="u1", event=PREFERENCES_UPDATED, context=prefers({"Advertising": False})),
            event(
                "track",
                2,
                userId="u1",
                event=PREFERENCES_UPDATED,
                messageId="m2",
                context=prefers({"Advertising": True}),
            ),
        ],
    )
    said = ran.rows["consent"]["user:u1"].categories["categories"]
    assert said.value == {"Advertising": True}
    assert (said.id, said.time, said.source, said.event) == ("m2", base + 2, "web", PREFERENCES_UPDATED)


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
def test_any_event_may_carry_consent(projection, event, run, kind):
    ran = run(projection, [event(kind, userId="u1", groupId="g", context=prefers({"Analytics": True}))])
    assert categories(ran) == {"Analytics": True}
    assert ran.rows["consent"]["user:u1"].categories["categories"].event == kind


def test_a_map_replaces_the_whole_map(projection, event, run):
    ran = run(
        projection,
        [
            event("page", 1, userId="u1", context=prefers({"Advertising": True, "Analytics": True})),
            event("page", 2, userId="u1", context=prefers({"Analytics": True})),
        ],
    )
    assert categories(ran) == {"Analytics": True}


@pytest.mark.parametrize(
    "context", [{}, {"consent": None}, {"consent": {}}, {"consent": {"categoryPreferences": None}}, None]
)
def test_no_consent_object_has_no_effect(projection, event, run, context):
    ran = run(projection, [event("page", userId="u1", context=context)])
    assert ran.fates == ["skip:no_consent"]
    assert projection.subjects(event("page", userId="u1", context=context)) == ()


@pytest.mark.parametrize("preferences", [{}, [], "all", 1])
def test_an_empty_map_and_what_is_no_map_are_a_no_to_everything(projection, event, run, preferences):
    assert categories(run(projection, [event("page", userId="u1", context=prefers(preferences))])) == {}


@pytest.mark.parametrize("value", ["true", 1, None, {}, "yes"])
def test_what_is_not_true_is_no(projection, event, run, value):
    ran = run(projection, [event("page", userId="u1", context=prefers({"Advertising": value, "Analytics": True}))])
    assert categories(ran) == {"Advertising": False, "Analytics": True}


def test_the_reserved_event_without_a_map_dies(projection, event, run):
    said = event("track", userId="u1", event=PREFERENCES_UPDATED)
    assert run(projection, [said]).fates == ["dead:no_category_preferences"]


def test_only_a_changed_answer_marks_and_the_proof_is_the_newest(projection, event, run, base):
    same = [event("page", at, userId="u1", context=prefers({"A": True})) for at in (1, 3, 2)]
    ran = run(projection, *[[one] for one in same])
    assert ran.marks == [("user:u1", "consent")]
    assert ran.rows["consent"]["user:u1"].categories["categories"].time == base + 3


def test_messaging_subscriptions_say_it_by_channel_and_address(projection, event, run):
    found = [
        {"key": "+15555550123", "type": "SMS", "status": "SUBSCRIBED"},
        {"key": "+15555550123", "type": "WhatsApp", "status": "DID_NOT_SUBSCRIBE"},
        {
            "key": "Test@example.com",
            "type": "EMAIL",
            "status": "UNSUBSCRIBED",
            "groups": [{"name": "newsletter", "status": "UNSUBSCRIBED"}, {"name": "offers", "status": True}],
        },
        {"key": "t", "type": "IOS_PUSH", "status": "garbage"},
        {"key": "u", "type": "ANDROID_PUSH", "status": None},
        "garbage",
    ]
    ran = run(projection, [event("identify", userId="u1", context={"messaging_subscriptions": found})])
    assert subscriptions(ran) == {
        "sms:+15555550123": "subscribed",
        "whatsapp:+15555550123": "did-not-subscribe",
        "email:test@example.com": "unsubscribed",
        "list:newsletter": "unsubscribed",
        "list:offers": "subscribed",
        "ios_push:t": "unsubscribed",
    }


@pytest.mark.parametrize("where", ["context", "properties"])
def test_external_ids_of_engage_say_it_too(projection, event, run, where):
    ids = [
        {"id": "a@b.c", "type": "email", "isSubscribed": True, "groups": [{"id": "g1", "isSubscribed": False}]},
        {"id": "+1", "type": "phone", "channelType": "whatsapp", "isSubscribed": False},
        {"id": "+2", "type": "phone", "isSubscribed": None},
    ]
    ran = run(projection, [event("track", userId="u1", event="E", **{where: {"external_ids": ids}})])
    assert subscriptions(ran) == {"email:a@b.c": "subscribed", "list:g1": "unsubscribed", "whatsapp:+1": "unsubscribed"}


@pytest.mark.parametrize(
    ("name", "properties", "said"),
    [
        ("Unsubscribed", {"list_id": "1425", "list_name": "New"}, {"list:1425": "unsubscribed"}),
        ("Unsubscribed", {}, {"email": "unsubscribed"}),
        ("Email Unsubscribed", {}, {"email": "unsubscribed"}),
        ("Email Group Unsubscribed", {"group_id": 7}, {"list:7": "unsubscribed"}),
        ("Email Group Unsubscribed", {}, {"email": "unsubscribed"}),
        ("Email Marked as Spam", {}, {"email": "unsubscribed"}),
        ("Subscribed", {"list": "vip"}, {"list:vip": "subscribed"}),
        ("email subscribed", {}, {"email": "subscribed"}),
        ("SMS Unsubscribed", {}, {"sms": "unsubscribed"}),
    ],
)
def test_subscribe_and_unsubscribe_events(projection, event, run, name, properties, said):
    assert subscriptions(run(projection, [event("track", userId="u1", event=name, properties=properties)])) == said


@pytest.mark.parametrize("name", ["Subscribed", "Email Group Subscribed", "Order Completed"])
def test_what_may_mean_something_else_gives_nothing(projection, event, run, name):
    assert run(projection, [event("track", userId="u1", event=name, properties={"plan": "pro"})]).fates == [
        "skip:no_consent"
    ]


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ({"newsletter": True}, {"list:newsletter": "subscribed"}),
        ({"newsletter": "Yes"}, {"list:newsletter": "subscribed"}),
        ({"newsletter": False}, {"list:newsletter": "unsubscribed"}),
        ({"newsletter": None}, {"list:newsletter": "unsubscribed"}),
        ({"newsletter": "perhaps"}, {"list:newsletter": "unsubscribed"}),
        ({"newsletter": [1]}, {"list:newsletter": "unsubscribed"}),
        ({"email_opt_out": True}, {"email": "unsubscribed"}),
        ({"email_opt_out": "perhaps"}, {"email": "unsubscribed"}),
        ({"email_opt_out": "false"}, {"email": "subscribed"}),
        ({"email_opt_out": 0, "dnc": 1}, {"email": "subscribed", "sms": "unsubscribed"}),
    ],
)
def test_traits_are_consent_where_configured_and_what_is_unclear_is_no(projection, event, run, traits, said):
    assert subscriptions(run(projection, [event("identify", userId="u1", traits=traits)])) == said


def test_an_opt_out_column_that_was_never_filled_opts_nobody_out(projection, event, run):
    assert run(projection, [event("identify", userId="u1", traits={"email_opt_out": None})]).fates == [
        "skip:no_consent"
    ]


def test_of_what_one_event_says_twice_the_strictest_counts(projection, event, run):
    groups = [{"name": "n", "status": word} for word in ("SUBSCRIBED", "UNSUBSCRIBED", "DID_NOT_SUBSCRIBE")]
    found = [{"key": "a@b.c", "type": "EMAIL", "status": "SUBSCRIBED", "groups": groups}]
    ran = run(projection, [event("identify", userId="u1", context={"messaging_subscriptions": found})])
    assert subscriptions(ran) == {"email:a@b.c": "subscribed", "list:n": "unsubscribed"}


def test_a_consent_of_nobody_is_skipped(projection, event, run):
    assert run(projection, [event("page", context=prefers({}))]).fates == ["skip:no_subject"]


def test_conventions_come_from_the_settings(event, run):
    [built] = consent.build(Setting(Config(), {}), {"given_by": {"vip_mails": "list:vip"}})
    assert subscriptions(run(built, [event("identify", userId="u1", traits={"vip_mails": True})])) == {
        "list:vip": "subscribed"
    }


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"trait": {}}, r"processors\.consent\.trait"),
        ({"given_by": {"a": "list:"}}, r"processors\.consent\.given_by\.a"),
        ({"given_by": {"a": "list"}}, r"processors\.consent\.given_by\.a"),
        ({"withdrawn_by": {"b": "E mail"}}, r"processors\.consent\.withdrawn_by\.b"),
        ({"withdrawn_by": {"b": 1}}, r"processors\.consent\.withdrawn_by"),
        ({"withdrawn_by": "email"}, r"processors\.consent\.withdrawn_by"),
    ],
)
def test_a_wrong_setting_is_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        consent.build(Setting(Config(), {}), settings)
