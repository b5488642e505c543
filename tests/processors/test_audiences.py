import pytest

from processors import audiences
from processors.audiences import Audiences
from stream.building import Setting
from stream.config import Config
from stream.errors import ConfigError


@pytest.fixture
def projection():
    return Audiences()


def personas(**changes):
    found = {
        "computation_class": "audience",
        "computation_id": "aud_1",
        "computation_key": "vip",
        "namespace": "spa_1",
        "space_id": "spa_1",
    }
    return {"personas": {key: value for key, value in {**found, **changes}.items() if value is not None}}


def members(ran, subject="user:u1"):
    return {name: register.value for name, register in ran.rows["audiences"][subject].audiences.items()}


def test_an_identify_says_who_is_a_member(projection, event, run, base):
    ran = run(
        projection, [event("identify", 3, userId="u1", traits={"vip": True, "email": "a@b.c"}, context=personas())]
    )
    [register] = ran.rows["audiences"]["user:u1"].audiences.values()
    assert members(ran) == {"spa_1/vip": True}
    assert (register.kind, register.computation, register.time) == ("audience", "aud_1", base + 3)
    assert ran.marks == [("user:u1", "audience")]


@pytest.mark.parametrize(("name", "value"), [("Audience Entered", True), ("Audience Exited", False), ("Custom", True)])
def test_a_track_says_it_by_its_property_whatever_its_name(projection, event, run, name, value):
    track = event(
        "track", userId="u1", event=name, properties={"audience_key": "vip", "vip": value}, context=personas()
    )
    assert members(run(projection, [track])) == {"spa_1/vip": value}


@pytest.mark.parametrize(("name", "value"), [("Audience Entered", False), ("Audience Exited", True)])
def test_the_property_beats_the_name(projection, event, run, name, value):
    track = event("track", userId="u1", event=name, properties={"vip": value}, context=personas())
    assert members(run(projection, [track])) == {"spa_1/vip": value}


@pytest.mark.parametrize(("name", "value"), [("Audience Entered", True), ("Audience Exited", False)])
def test_without_the_property_the_name_decides(projection, event, run, name, value):
    track = event("track", userId="u1", event=name, properties={"audience_key": "vip"}, context=personas())
    assert members(run(projection, [track])) == {"spa_1/vip": value}


def test_where_the_key_is_an_id_the_property_names_the_audience(projection, event, run):
    properties = {"audience_key": "vip", "vip": True}
    context = personas(computation_key="aud_1")
    ran = run(
        projection, [event("track", userId="u1", event="Audience Entered", properties=properties, context=context)]
    )
    assert members(ran) == {"spa_1/vip": True}


@pytest.mark.parametrize(("text", "value"), [("true", True), ("FALSE", False)])
def test_journeys_v1_say_it_in_text(projection, event, run, text, value):
    context = personas(computation_key="j_o_welcome")
    ran = run(projection, [event("identify", userId="u1", traits={"j_o_welcome": text}, context=context)])
    assert members(ran) == {"spa_1/j_o_welcome": value}
    assert ran.rows["audiences"]["user:u1"].audiences["spa_1/j_o_welcome"].kind == "journey"


def test_a_step_of_a_journey_is_taken_by_its_event(projection, event, run):
    context = personas(computation_class="journey_step", computation_key="step")
    ran = run(projection, [event("track", userId="u1", event="My Step", properties={"a": 1}, context=context)])
    assert members(ran) == {"spa_1/step": True}


@pytest.mark.parametrize("value", ["yes", 1, None, [], {}])
def test_what_is_no_boolean_says_nothing(projection, event, run, value):
    ran = run(projection, [event("identify", userId="u1", traits={"vip": value}, context=personas())])
    assert ran.fates == ["skip:no_membership"]
    assert ran.rows == {}


@pytest.mark.parametrize("kind", ["trait", "computed_trait"])
def test_computed_traits_are_told_apart(projection, event, run, kind):
    context = personas(computation_class=kind, computation_key="total")
    ran = run(
        projection,
        [
            event("identify", 1, userId="u1", traits={"total": 45.5}, context=context),
            event(
                "track",
                2,
                userId="u1",
                event="Trait Computed",
                properties={"trait_key": "total", "total": True},
                context=context,
            ),
        ],
    )
    row = ran.rows["audiences"]["user:u1"]
    assert row.audiences == {}
    assert row.computed["spa_1/total"].value is True


def test_the_class_is_told_by_the_id_where_it_is_missing(projection, event, run):
    context = personas(computation_class=None)
    assert members(run(projection, [event("identify", userId="u1", traits={"vip": True}, context=context)])) == {
        "spa_1/vip": True
    }
    context = personas(computation_class="predictive_thing")
    ran = run(projection, [event("identify", userId="u1", traits={"vip": True}, context=context)])
    assert ran.fates == ["skip:unknown_computation_class"]


def test_an_account_audience_is_about_the_group(projection, event, run):
    ran = run(projection, [event("group", userId="u1", groupId="acme", traits={"vip": True}, context=personas())])
    assert members(ran, "group:acme") == {"spa_1/vip": True}
    assert ran.rows["audiences"].keys() == {"group:acme"}
    assert ran.marks == [("group:acme", "audience")]


def test_a_first_sync_repeats_itself_per_identifier_and_marks_once(projection, event, run):
    sync = [
        event(
            "identify", 1, userId="u1", anonymousId=f"a{n}", messageId=f"p{n}", traits={"vip": True}, context=personas()
        )
        for n in range(3)
    ]
    ran = run(projection, [sync[0]], sync)
    assert members(ran) == {"spa_1/vip": True}
    assert ran.marks == [("user:u1", "audience")]


def test_an_older_exit_changes_nothing(projection, event, run):
    entered = event("identify", 5, userId="u1", traits={"vip": True}, context=personas())
    exited = event("identify", 4, userId="u1", traits={"vip": False}, context=personas())
    ran = run(projection, [entered, exited])
    assert members(ran) == {"spa_1/vip": True}


def test_two_spaces_may_use_the_same_key(projection, event, run):
    ran = run(
        projection,
        [
            event("identify", 1, userId="u1", traits={"vip": True}, context=personas()),
            event("identify", 2, userId="u1", traits={"vip": False}, context=personas(space_id="spa_2")),
        ],
    )
    assert members(ran) == {"spa_1/vip": True, "spa_2/vip": False}


def test_only_segment_itself_may_say_so(projection, event, run):
    said = event("identify", path="sdk", userId="u1", traits={"vip": True}, context=personas())
    assert run(projection, [said]).fates == ["skip:personas_not_from_segment"]
    assert run(projection, [said]).rows == {}


def test_ordinary_events_are_skipped_and_load_no_rows(projection, event, run):
    plain = event("track", userId="u1", event="Audience Entered", properties={"audience_key": "vip", "vip": True})
    assert projection.subjects(plain) == ()
    assert run(projection, [plain]).fates == ["skip:no_personas"]


def test_it_has_no_settings():
    with pytest.raises(ConfigError, match=r"processors\.audiences\.lenient"):
        audiences.build(Setting(Config(), {}), {"lenient": True})
    assert [built.name for built in audiences.build(Setting(Config(), {}), {})] == ["audiences"]
