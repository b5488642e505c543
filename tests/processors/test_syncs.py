"""What the built-in syncs want of a destination, for whom."""

from typing import Any, ClassVar

import pytest

from processors import audiences, consent, deletion, profiles
from stream.building import Setting
from stream.config import Config, PurposeConfig
from stream.connector import Change, Flow, Limits, Request
from stream.errors import ConfigError
from stream.person import Consent, Membership, Person
from stream.processor import Sync, Want


class Mail:
    """A destination that knows people by e-mail, else by user id."""

    name = "mail"
    kinds = ("email", "user_id")
    limits = Limits()
    bulk: ClassVar[dict[str, int]] = {}

    def _flow(self, changes: list[Change]) -> Flow[None]:
        yield Request(destination=self.name, method="POST", url="https://mail.example.com")

    upsert_profile = set_membership = set_consent = delete_person = _flow


class Mute:
    """A destination that can do nothing."""

    name = "mute"
    kinds = ("email",)
    limits = Limits()
    bulk: ClassVar[dict[str, int]] = {}


def built(module: Any, settings: dict[str, Any]) -> Sync:
    config = Config(purposes={"marketing": PurposeConfig(), "alerts": PurposeConfig()})
    found = module.build(Setting(config, {"mail": Mail(), "mute": Mute()}), settings)
    assert len(found) == 2
    sync = found[1]
    assert isinstance(sync, Sync)
    return sync


def person(**more: Any) -> Person:
    identifiers = {"user_id": ("u1",), "email": ("new@b.c", "old@b.c"), "phone": ("+49",)}
    return Person(**{"key": "user:u1", "subjects": ("user:u1",), "identifiers": identifiers, **more})


def member(of: str, is_one: bool = True) -> dict[str, Membership]:
    return {of: Membership(is_one, "audience", 1.0)}


def said(**answers: str) -> dict[str, Consent]:
    return {name.replace("__", ":"): Consent(status, ()) for name, status in answers.items()}


def test_a_member_is_wanted_on_the_list_by_the_newest_address_of_the_best_kind() -> None:
    sync = built(audiences, {"destinations": ["mail"]})
    assert sync.name == "audiences.mail"
    everything = person(audiences=member("spa_1/vip") | member("spa_1/left", False))
    assert sync.wanted(everything) == [Want("email:new@b.c", "set_membership", "list:vip", True, "marketing")]
    by_id = person(identifiers={"user_id": ("u1",)}, audiences=member("vip"))
    assert [want.address for want in sync.wanted(by_id)] == ["user_id:u1"]
    assert sync.wanted(person(identifiers={"phone": ("+49",)}, audiences=member("vip"))) == []


def test_audiences_are_chosen_renamed_and_given_purposes_by_key_or_by_space_and_key() -> None:
    own = {"audiences": ["vip", "spa_2/churn"], "lists": {"vip": "42"}, "purposes": {"spa_2/churn": "alerts"}}
    sync = built(audiences, {"destinations": ["mail"], "mail": own})
    everything = person(audiences=member("spa_1/vip") | member("spa_2/churn") | member("spa_1/churn"))
    assert [(want.thing, want.purpose) for want in sync.wanted(everything)] == [
        ("list:42", "marketing"),
        ("list:churn", "alerts"),
    ]


def test_a_no_goes_to_every_address_and_a_yes_to_the_newest() -> None:
    sync = built(consent, {"destinations": ["mail"]})
    wants = sync.wanted(person(subscriptions=said(email="unsubscribed", list__7="subscribed")))
    assert [(want.address, want.thing, want.value) for want in wants] == [
        ("email:new@b.c", "consent:email", False),
        ("email:old@b.c", "consent:email", False),
        ("user_id:u1", "consent:email", False),
        ("email:new@b.c", "consent:list:7", True),
    ]
    assert {want.purpose for want in wants} == {""} and sync.purpose == "internal"


@pytest.mark.parametrize("status", ["unsubscribed", "did-not-subscribe", "conflict"])
def test_whatever_is_not_subscribed_is_a_no(status: str) -> None:
    sync = built(consent, {"destinations": ["mail"]})
    assert {want.value for want in sync.wanted(person(subscriptions=said(email=status)))} == {False}


def test_an_answer_about_one_address_is_told_of_that_address_and_a_no_beats_a_yes() -> None:
    sync = built(consent, {"destinations": ["mail"], "mail": {"subscriptions": ["email", "sms"]}})
    answers = said(email="subscribed", list__7="subscribed")
    answers["email:new@b.c"] = Consent("unsubscribed", ())
    wants = sync.wanted(person(subscriptions=answers))
    assert [(want.address, want.thing, want.value) for want in wants] == [
        ("email:new@b.c", "consent:email", False),
    ]


def test_an_answer_about_an_address_of_a_kind_that_is_not_known_there_is_that_of_the_person() -> None:
    sync = built(consent, {"destinations": ["mail"]})

    def told(**answers: str) -> list[tuple[str, Any]]:
        return [(want.address, want.value) for want in sync.wanted(person(subscriptions=said(**answers)))]

    assert told(sms__1="subscribed") == [("email:new@b.c", True)]
    no = [("email:new@b.c", False), ("email:old@b.c", False), ("user_id:u1", False)]
    assert told(sms__1="unsubscribed") == told(sms__1="unsubscribed", sms__2="subscribed") == no


def test_a_category_is_told_where_it_is_configured_and_was_answered() -> None:
    own = {"categories": {"Advertising": "ads", "Analytics": "stats"}, "subscriptions": ["none"]}
    sync = built(consent, {"destinations": ["mail"], "mail": own})
    known = person(consent_given=True, consents=said(Advertising="yes"))
    assert [(want.thing, want.value) for want in sync.wanted(known)] == [
        ("consent:ads", True),
        *[("consent:stats", False)] * 3,
    ]
    assert sync.wanted(person()) == []


def test_a_profile_is_the_chosen_traits_and_nothing_is_wanted_of_who_has_none() -> None:
    own = {"traits": ["plan", "score"], "computed": True}
    sync = built(profiles, {"destinations": ["mail"], "mail": own})
    known = person(traits={"plan": "pro", "name": "A"}, computed={"spa_1/score": 7})
    assert sync.wanted(known) == [Want("email:new@b.c", "upsert_profile", "profile", {"plan": "pro", "score": 7})]
    assert sync.wanted(person(traits={"name": "A"})) == []


def test_a_deletion_is_wanted_of_every_address_that_is_open() -> None:
    sync = built(deletion, {"destinations": ["mail"]})
    gone = person(identifiers={}, deletion=("email:a@b.c", "user_id:u1"))
    assert [(want.address, want.verb, want.gives) for want in sync.wanted(gone)] == [
        ("email:a@b.c", "delete_person", False),
        ("user_id:u1", "delete_person", False),
    ]


@pytest.mark.parametrize(
    ("module", "settings", "what"),
    [
        (
            audiences,
            {"destinations": ["nobody"]},
            r"audiences.destinations: there is no \[connectors.nobody\]",
        ),
        (audiences, {"destinations": "mail"}, "processors.audiences.destinations must be a list of texts"),
        (audiences, {"destinations": ["mute"]}, "connectors.mute cannot set_membership"),
        (consent, {"destinations": ["mute"]}, "connectors.mute cannot set_consent"),
        (profiles, {"destinations": ["mute"]}, "connectors.mute cannot upsert_profile"),
        (audiences, {"destinations": ["mail"], "mail": {"purpose": "x"}}, r"there is no \[purposes.x\]"),
        (audiences, {"destinations": ["mail"], "mail": {"purposes": {"vip": "y"}}}, r"there is no \[purposes.y\]"),
        (audiences, {"destinations": ["mail"], "mial": {}}, "processors.audiences.mial is not a setting"),
        (profiles, {"destinations": ["mail"], "mail": {"trait": []}}, "did you mean traits"),
        (deletion, {"destinations": ["mail"], "mail": {"purpose": "x"}}, "processors.deletion.mail.purpose"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(module: Any, settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        built(module, settings)
