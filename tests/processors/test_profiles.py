import pytest

from processors import profiles
from processors.profiles import MAX_EVENT_NAMES, MAX_TRAITS, Profiles
from stream.building import Setting
from stream.config import Config, IdentityConfig
from stream.errors import ConfigError


@pytest.fixture
def projection():
    return Profiles(IdentityConfig())


def traits(row):
    return {name: register.value for name, register in row.traits.items()}


def test_traits_of_identifies_are_kept_by_their_latest_event_time(projection, event, run):
    late = event("identify", 9, userId="u1", traits={"plan": "pro", "name": "Ada"})
    early = event("identify", 1, userId="u1", traits={"plan": "free", "age": 36})
    assert traits(run(projection, [late, early]).rows["profiles"]["user:u1"]) == {
        "plan": "pro",
        "name": "Ada",
        "age": 36,
    }


def test_null_replaces_a_trait_and_omitting_keeps_it(projection, event, run):
    history = [
        event("identify", 1, userId="u1", traits={"plan": "pro", "name": "Ada"}),
        event("identify", 2, userId="u1", traits={"plan": None}),
    ]
    assert traits(run(projection, history).rows["profiles"]["user:u1"]) == {"plan": None, "name": "Ada"}


def test_context_traits_of_a_track_change_no_traits_but_name_an_address(projection, event, run):
    ran = run(
        projection, [event("track", userId="u1", event="E", context={"traits": {"email": " A@B.c", "plan": "x"}})]
    )
    row = ran.rows["profiles"]["user:u1"]
    assert row.traits == {}
    assert list(row.identifiers) == ["email:a@b.c"]
    assert ran.marks == [("user:u1", "identity")]


def test_counts_and_sightings(projection, event, run, base):
    history = [
        event("track", 5, userId="u1", event="A"),
        event("track", 2, userId="u1", event="B"),
        event("track", 3, userId="u1", event="A"),
        event("page", 4, userId="u1", name="Home"),
        event("track", 4, userId="u1", messageId="nameless"),
    ]
    row = run(projection, history).rows["profiles"]["user:u1"]
    assert row.events == {"A": 2, "B": 1}
    assert row.other == 1
    assert row.types == {"page": 1}
    assert (row.first_seen, row.last_seen) == (base + 2, base + 5)


def test_a_duplicate_changes_nothing_and_is_skipped(projection, event, run):
    once = event("track", userId="u1", event="A")
    ran = run(projection, [once, once], [once])
    assert ran.fates == ["applied", "skip:duplicate", "skip:duplicate"]
    assert ran.rows["profiles"]["user:u1"].events == {"A": 1}


def test_a_repeat_with_another_time_is_not_counted_but_its_facts_are_kept(projection, event, run, base):
    history = [
        event("identify", 5, userId="u1", messageId="m", traits={"plan": "pro"}),
        event("identify", 7, userId="u1", messageId="m", traits={"plan": "pro"}),
    ]
    ran = run(projection, history)
    assert ran.fates == ["applied", "applied"]
    row = ran.rows["profiles"]["user:u1"]
    assert row.types == {"identify": 1}
    assert row.last_seen == base + 7
    assert row.traits["plan"].time == base + 7


def test_a_repeat_that_changes_no_row_still_links(projection, event, run, base):
    before = event("track", 0, userId="u1", event="E")
    first = event("track", 5, userId="u1", anonymousId="a1", messageId="m", event="E")
    again = event("track", 3, userId="u1", anonymousId="a1", messageId="m", event="E")
    for order in ([before, first, again], [before, again, first]):
        ran = run(projection, *[[one] for one in order])
        assert ran.links == {("anon:a1", "user:u1"): base + 3}
        assert ran.rows["profiles"]["user:u1"].events == {"E": 2}


def test_of_a_row_only_what_is_younger_is_left(projection, event, run, base):
    def seen(at, name):
        context = {"device": {"id": name}} if name == "new" else {"campaign": {"name": name}}
        ids = {"userId": "u1", "groupId": name, "context": context | {"traits": {"email": f"{name}@b.c"}}}
        return [event("identify", at, traits={name: 1}, **ids), event("group", at, **ids)]

    row = run(projection, [*seen(1, "old"), *seen(5, "new")]).rows["profiles"]["user:u1"]
    left = row.without(base + 1)
    assert [list(of) for of in (left.traits, left.identifiers, left.groups, left.context)] == [
        ["new"],
        ["email:new@b.c"],
        ["new"],
        ["device"],
    ]
    assert (left.first_seen, left.last_seen, left.types, left.recent) == (base + 5, base + 5, {}, "")
    assert row.without(base + 5) is None


def test_names_of_events_beyond_the_cap_are_counted_as_other(projection, event, run):
    history = [event("track", n, userId="u1", event=f"E{n}") for n in range(MAX_EVENT_NAMES + 5)]
    history += [event("track", 900, userId="u1", event="E0"), event("track", 901, userId="u1", event="x" * 9_000)]
    row = run(projection, history).rows["profiles"]["user:u1"]
    assert len(row.events) == MAX_EVENT_NAMES
    assert row.events["E0"] == 2
    assert row.other == 6


def test_of_too_many_traits_the_newest_are_kept(projection, event, run):
    many = {f"t{n}": n for n in range(MAX_TRAITS)}
    ran = run(
        projection,
        [event("identify", 2, userId="u1", traits=many), event("identify", 1, userId="u1", traits={"old": 1})],
    )
    assert traits(ran.rows["profiles"]["user:u1"]) == many


def test_only_changed_values_mark(projection, event, run):
    history = [
        [event("identify", 1, userId="u1", traits={"plan": "pro"})],
        [event("identify", 2, userId="u1", traits={"plan": "pro"})],
        [event("track", 3, userId="u1", event="E", context={"device": {"id": "d"}})],
        [event("identify", 0, userId="u1", traits={"plan": "free"})],
        [event("identify", 4, userId="u1", traits={"plan": 1})],
        [event("identify", 5, userId="u1", traits={"plan": True, "email": "a@b.c"})],
    ]
    marks = [run(projection, *history[: n + 1]).marks for n in range(len(history))]
    assert [len(found) for found in marks] == [1, 1, 1, 1, 2, 4]
    assert set(marks[-1]) == {("user:u1", "traits"), ("user:u1", "identity")}


def test_a_track_touches_one_row(projection, event, run):
    ran = run(projection, [event("track", userId="u1", anonymousId="a1", groupId="g", event="E")])
    assert {table: set(rows) for table, rows in ran.rows.items()} == {"profiles": {"user:u1"}}


def test_device_and_campaign_are_those_of_the_last_event_that_had_them(projection, event, run):
    history = [
        event("page", 3, anonymousId="a", context={"campaign": {"name": "spring"}, "ip": "1.2.3.4", "userAgent": "x"}),
        event("page", 2, anonymousId="a", context={"campaign": {"name": "winter"}, "device": {"id": "d"}}),
    ]
    row = run(projection, history).rows["profiles"]["anon:a"]
    assert {name: register.value for name, register in row.context.items()} == {
        "campaign": {"name": "spring"},
        "device": {"id": "d"},
    }


def test_a_group_call_joins_the_person_and_tells_of_the_group(projection, event, run):
    ran = run(projection, [event("group", userId="u1", groupId="acme", traits={"name": "Acme", "email": "hi@acme.c"})])
    user, group = ran.rows["profiles"]["user:u1"], ran.rows["profiles"]["group:acme"]
    assert list(user.groups) == ["acme"]
    assert user.traits == user.identifiers == {}
    assert traits(group) == {"name": "Acme", "email": "hi@acme.c"}
    assert set(ran.marks) == {("user:u1", "traits"), ("group:acme", "traits")}


def test_a_group_call_without_a_person_tells_of_the_group_alone(projection, event, run):
    ran = run(projection, [event("group", groupId="acme", traits={"name": "Acme"})])
    assert ran.rows["profiles"].keys() == {"group:acme"}


def test_external_ids_of_users_are_identifiers(projection, event, run):
    ids = [
        {"id": "B-1", "type": "braze_id", "collection": "users", "encoding": "none"},
        {"id": 7, "type": "crm"},
        {"id": "x", "type": "account", "collection": "accounts"},
        {"type": "broken"},
        "broken",
    ]
    row = run(projection, [event("track", userId="u1", event="E", context={"externalIds": ids})]).rows["profiles"][
        "user:u1"
    ]
    assert row.identifiers.keys() == {"braze_id:B-1", "crm:7"}


@pytest.mark.parametrize("kind", ["identify", "track"])
def test_an_event_with_both_ids_links_and_is_filed_under_the_user_alone(projection, event, run, base, kind):
    ran = run(projection, [event(kind, 4, userId="u1", anonymousId="a1", event="E", space="staging")])
    assert ran.links == {("staging/anon:a1", "staging/user:u1"): base + 4}
    assert ran.rows["profiles"].keys() == {"staging/user:u1"}


@pytest.mark.parametrize("kind", ["page", "screen", "group", "alias"])
def test_other_types_link_nobody(projection, event, run, kind):
    assert run(projection, [event(kind, userId="u1", anonymousId="a1", previousId="a1", groupId="g")]).links == {}


@pytest.mark.parametrize("ids", [("u1", "null"), ("Anonymous", "a1"), ("-1", "a1"), ("u1", "00000000-0000")])
def test_links_of_ids_that_stand_for_nobody_are_passed_on_too_for_the_store_to_refuse(projection, event, run, ids):
    ran = run(projection, [event("identify", userId=ids[0], anonymousId=ids[1])])
    assert ran.links.keys() == {(f"anon:{ids[1]}", f"user:{ids[0]}")}


def test_an_alias_links_only_where_configured_whichever_kind_the_previous_id_was(event, run, base):
    alias = event("alias", 1, userId="new", previousId="old", anonymousId="a1")
    ran = run(Profiles(IdentityConfig(alias=True)), [alias, event("alias", 2, userId="same", previousId="same")])
    assert ran.links == {
        ("user:old", "user:new"): base + 1,
        ("anon:old", "user:new"): base + 1,
        ("anon:same", "user:same"): base + 2,
    }


def test_a_refused_event_only_links_and_names_addresses(projection, event, run):
    old = event(
        "identify",
        userId="u1",
        anonymousId="a1",
        traits={"email": "a@b.c", "phone": 4912345},
        context={"traits": {"email": "C@d.e"}},
    )
    ran = run(projection, [old], refuse=True)
    assert ran.rows == {}
    assert ran.marks == []
    assert ran.links.keys() == {("anon:a1", "user:u1")}
    assert ran.addresses == {("user:u1", "email:a@b.c"), ("user:u1", "phone:4912345"), ("user:u1", "email:c@d.e")}


def test_an_event_of_nobody_is_skipped(projection, event, run):
    assert (
        run(projection, [event("track", event="E"), event("group", traits={"a": 1})]).fates == ["skip:no_subject"] * 2
    )


def test_it_is_built_with_the_identity_of_the_configuration_and_no_settings(event, run):
    app = Setting(Config(identity=IdentityConfig(alias=True)), {})
    [built] = profiles.build(app, {})
    assert ("anon:a1", "user:u1") in run(built, [event("alias", userId="u1", previousId="a1")]).links
    with pytest.raises(ConfigError, match=r"processors\.profiles\.capp"):
        profiles.build(app, {"capp": 1})
