import msgspec
import pytest

from processors.audiences import Audiences
from processors.consent import Consent, Settings
from processors.profiles import Profiles
from stream.config import IdentityConfig
from stream.person import Person, assemble


def person_of(run, history, links=None, tombstones=None):
    rows = {}
    for projection in (Profiles(IdentityConfig()), Audiences(), Consent(Settings({"newsletter": "list:n"}))):
        rows |= run(projection, [event for event in history if event.type in projection.topics]).rows
    subjects = {subject for by_subject in rows.values() for subject in by_subject}
    return assemble(subjects, rows, links or {}, tombstones or {})


def prefers(**preferences):
    return {"consent": {"categoryPreferences": preferences}}


def test_a_person_is_the_newest_of_each_fact_and_the_sum_of_all_counts(event, run, base):
    history = [
        event("page", 1, anonymousId="a1", context={"campaign": {"name": "spring"}}),
        event("track", 2, anonymousId="a1", event="Viewed"),
        event("identify", 3, anonymousId="a1", traits={"plan": "trial", "email": "old@b.c"}),
        event("identify", 4, userId="u1", anonymousId="a1", traits={"plan": "pro", "email": "new@b.c"}),
        event("track", 5, userId="u1", event="Viewed"),
        event("group", 6, userId="u1", groupId="g1"),
        event("group", 7, userId="u1", groupId="g2"),
    ]
    person = person_of(run, history[:5] + history[5:], {"anon:a1": ("user:u1", base + 4)})
    assert person.key == "user:u1"
    assert person.subjects == ("anon:a1", "group:g1", "group:g2", "user:u1")
    assert person.traits == {"plan": "pro", "email": "new@b.c"}
    assert person.identifiers["user_id"] == ("u1",)
    assert person.identifiers["anonymous_id"] == ("a1",)
    assert person.identifiers["email"] == ("new@b.c", "old@b.c")
    assert (person.first_seen, person.last_seen) == (base + 1, base + 7)
    assert person.events == {"Viewed": 2}
    assert person.counts == {"page": 1, "identify": 2, "group": 4, "track": 2}
    assert person.context == {"campaign": {"name": "spring"}}
    assert person.groups == ("g2", "g1")
    assert person.deleted is None


def test_memberships_are_the_newest_of_all_subjects_and_found_by_key(event, run, base):
    def says(at, member, **ids):
        personas = {
            "computation_class": "audience",
            "computation_id": "aud_1",
            "computation_key": "vip",
            "space_id": "s",
        }
        return event("identify", at, traits={"vip": member}, context={"personas": personas}, **ids)

    person = person_of(run, [says(2, True, userId="u1"), says(1, False, anonymousId="a1")])
    assert person.member("vip")
    assert person.member("s/vip")
    assert not person.member("other")
    assert person.audiences["s/vip"].time == base + 2
    assert not person_of(run, [says(2, False, userId="u1"), says(1, True, anonymousId="a1")]).member("vip")


def test_without_a_consent_object_every_category_is_unknown(event, run):
    person = person_of(run, [event("page", userId="u1")])
    assert not person.consent_given
    assert person.consent("Advertising") == "unknown"


def test_a_missing_category_is_no_and_so_is_every_one_of_an_empty_map(event, run):
    person = person_of(run, [event("page", userId="u1", context=prefers(Advertising=True))])
    assert person.consent("Advertising") == "yes"
    assert person.consent("advertising") == "no"
    person = person_of(run, [event("page", userId="u1", context=prefers())])
    assert person.consent_given
    assert person.consent("Advertising") == "no"


def test_the_proof_names_the_event(event, run, base):
    person = person_of(run, [event("page", 1, userId="u1", messageId="m7", context=prefers(Advertising=False))])
    [proof] = person.consents["Advertising"].proofs
    assert (proof.message_id, proof.time, proof.source, proof.event) == ("m7", base + 1, "web", "page")


def test_subjects_that_differ_are_a_conflict_until_a_consent_after_the_link(event, run, base):
    history = [
        event("page", 1, anonymousId="a1", context=prefers(Advertising=True, Analytics=True)),
        event("page", 2, userId="u1", context=prefers(Advertising=False, Analytics=True)),
    ]
    links = {"anon:a1": ("user:u1", base + 5)}
    person = person_of(run, history, links)
    assert person.consent("Advertising") == "conflict"
    assert person.consent("Analytics") == "yes"
    assert [proof.time for proof in person.consents["Advertising"].proofs] == [base + 2, base + 1]
    after = [*history, event("page", 6, anonymousId="a1", context=prefers(Advertising=True))]
    assert person_of(run, after, links).consent("Advertising") == "yes"
    assert person_of(run, after, links).consent("Analytics") == "no"


def test_the_event_that_links_decides_by_the_consent_it_carries(event, run, base):
    history = [
        event("page", 1, anonymousId="a1", context=prefers(Advertising=True)),
        event("identify", 5, userId="u1", anonymousId="a1", context=prefers(Advertising=False)),
    ]
    assert person_of(run, history, {"anon:a1": ("user:u1", base + 5)}).consent("Advertising") == "no"


def test_a_later_link_of_somebody_who_said_nothing_brings_no_conflict(event, run, base):
    history = [
        event("page", 1, userId="u1", context=prefers(Advertising=True)),
        event("page", 4, anonymousId="a1", context=prefers(Advertising=False)),
        event("page", 5, anonymousId="a2"),
    ]
    links = {"anon:a1": ("user:u1", base + 3), "anon:a2": ("user:u1", base + 9)}
    assert person_of(run, history, links).consent("Advertising") == "no"
    history.append(event("page", 6, anonymousId="a2", context=prefers(Advertising=False)))
    assert person_of(run, history, links).consent("Advertising") == "no"
    history.append(event("page", 7, anonymousId="a2", context=prefers(Advertising=True)))
    assert person_of(run, history, links).consent("Advertising") == "conflict"


def test_subscriptions_that_differ_conflict_as_well(event, run, base):
    history = [
        event("identify", 1, anonymousId="a1", traits={"newsletter": True}),
        event("identify", 2, userId="u1", traits={"newsletter": False}),
    ]
    assert person_of(run, history, {"anon:a1": ("user:u1", base + 5)}).subscriptions["list:n"].status == "conflict"
    assert person_of(run, history, {"anon:a1": ("user:u1", base)}).subscriptions["list:n"].status == "unsubscribed"


def test_what_is_not_younger_than_a_tombstone_does_not_count(event, run, base):
    personas = {"computation_class": "audience", "computation_key": "vip", "space_id": "s"}
    history = [
        event("identify", 1, userId="u1", traits={"plan": "pro", "vip": True}, context={"personas": personas}),
        event("page", 2, userId="u1", context=prefers(Advertising=True)),
        event("identify", 5, userId="u1", traits={"name": "Ada"}, context=prefers(Analytics=True)),
    ]
    person = person_of(run, history, tombstones={"user:u1": base + 3})
    assert person.traits == {"name": "Ada"}
    assert person.audiences == {}
    assert person.consents.keys() == {"Analytics"}
    assert (person.first_seen, person.counts) == (base + 5, {})
    assert person.deleted == base + 3
    gone = person_of(run, history, tombstones={"user:u1": base + 5})
    assert gone == Person(key="user:u1", subjects=("user:u1",), identifiers={"user_id": ("u1",)}, deleted=base + 5)


def test_what_a_returned_person_did_since_is_counted(event, run, base):
    person = person_of(run, [event("track", 5, userId="u1", event="A")], tombstones={"user:u1": base + 3})
    assert person.events == {"A": 1}


def test_an_alias_of_an_alias_is_known_since_the_last_link_of_the_way(event, run, base):
    history = [
        event("page", 1, anonymousId="a1", context=prefers(Advertising=True)),
        event("page", 6, userId="u1", context=prefers(Advertising=False)),
    ]
    links = {"anon:a1": ("user:old", base + 2), "user:old": ("user:u1", base + 8)}
    assert person_of(run, history, links).consent("Advertising") == "conflict"
    links = {"anon:a1": ("user:old", base + 2), "user:old": ("user:u1", base + 4)}
    assert person_of(run, history, links).consent("Advertising") == "no"


def test_a_person_goes_through_json(event, run):
    person = person_of(run, [event("identify", userId="u1", traits={"a": [None, {"b": 1}]}, context=prefers(A=True))])
    assert msgspec.json.decode(msgspec.json.encode(person), type=Person) == person


def test_somebody_of_whom_nothing_is_known_is_a_person_all_the_same():
    assert assemble(["anon:9"], {}, {}, {}) == Person(
        key="anon:9", subjects=("anon:9",), identifiers={"anonymous_id": ("9",)}
    )
    with pytest.raises(ValueError):
        assemble([], {}, {}, {})
