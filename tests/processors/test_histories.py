"""Any permutation, duplication and split of a history ends in the same rows, below the caps (design §8)."""

from itertools import pairwise, permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.audiences import Audiences
from processors.consent import PREFERENCES_UPDATED, Consent, Settings
from processors.deletion import Deletion
from processors.profiles import Profiles
from stream.config import IdentityConfig
from stream.events import decode
from stream.message import Message
from stream.person import assemble

PROJECTIONS = {
    "profiles": Profiles(IdentityConfig(alias=True)),
    "audiences": Audiences(),
    "consent": Consent(Settings({"newsletter": "list:n"}, {"opt_out": "list:n"})),
}
PERSONAS = st.fixed_dictionaries(
    {
        "computation_class": st.sampled_from(["audience", "trait", "journey_step"]),
        "computation_key": st.sampled_from(["vip", "j_o_1"]),
        "space_id": st.sampled_from(["s1", "s2"]),
    }
)
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "personas": PERSONAS,
        "consent": st.fixed_dictionaries(
            {"categoryPreferences": st.dictionaries(st.sampled_from("AB"), st.booleans(), max_size=2)}
        ),
        "device": st.fixed_dictionaries({"id": st.sampled_from("xy")}),
        "traits": st.fixed_dictionaries({"email": st.sampled_from(["a@b.c", "d@e.f"])}),
    },
)
VALUES = st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1, 1.0, "a", [1], {"k": 1}]))
NAMES = st.sampled_from(["vip", "j_o_1", "newsletter", "opt_out", "plan"])
BODIES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "identify", "page", "group", "alias"]),
        "at": st.sampled_from([0.0, 1.0, 2.0]),
        "context": CONTEXTS,
        "traits": st.dictionaries(NAMES, VALUES, max_size=3),
        "properties": st.dictionaries(NAMES, VALUES, max_size=2),
        "event": st.sampled_from(["A", "B", "Unsubscribed", "Audience Exited", PREFERENCES_UPDATED]),
    },
    optional={
        "userId": st.sampled_from(["u1", "u2"]),
        "anonymousId": st.sampled_from(["a1", "a2"]),
        "groupId": st.just("g1"),
        "previousId": st.just("u2"),
    },
)
HISTORIES = st.lists(BODIES, max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ODD = st.fixed_dictionaries(
    {},
    optional={
        "userId": JSON,
        "anonymousId": JSON,
        "groupId": JSON,
        "previousId": JSON,
        "event": JSON | st.sampled_from(["Subscribed", "Unsubscribed", PREFERENCES_UPDATED]),
        "traits": JSON | st.dictionaries(st.sampled_from(["email", "phone", "newsletter", "opt_out", "vip"]), JSON),
        "properties": JSON | st.dictionaries(st.sampled_from(["list_id", "external_ids", "audience_key", "vip"]), JSON),
        "context": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "traits": JSON | st.dictionaries(st.sampled_from(["email", "phone"]), JSON),
                "externalIds": JSON
                | st.lists(st.dictionaries(st.sampled_from(["id", "type", "collection"]), JSON), max_size=2),
                "external_ids": st.lists(
                    st.dictionaries(st.sampled_from(["id", "type", "isSubscribed", "groups"]), JSON), max_size=2
                ),
                "messaging_subscriptions": st.lists(
                    st.dictionaries(st.sampled_from(["key", "type", "status", "groups"]), JSON), max_size=2
                ),
                "consent": JSON | st.fixed_dictionaries({"categoryPreferences": JSON}),
                "personas": JSON
                | st.dictionaries(st.sampled_from(["computation_class", "computation_key", "space_id"]), JSON)
                | PERSONAS,
                "device": JSON,
            },
        ),
    },
)


def ended(ran):
    """All that must be the same: the rows as they lie in the store, but for the memory of recent messages."""
    for row in ran.rows.get("profiles", {}).values():
        row.recent = ""
    return msgspec.json.encode([ran.rows, sorted(ran.links.items())], order="sorted")


def split(history, cuts):
    edges = [0, *sorted(cut % (len(history) + 1) for cut in cuts), len(history)]
    return [history[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("name", PROJECTIONS)
def test_every_order_of_a_small_history_ends_the_same(event, run, name):
    ids = {"userId": "u1", "anonymousId": "a1"}
    personas = {"computation_class": "audience", "computation_key": "vip", "space_id": "s1"}

    def says(number, kind, at, answer, **fields):
        context = {"personas": personas, "consent": {"categoryPreferences": {"A": answer}}, "device": {"id": number}}
        values = {"vip": answer, "plan": number}
        return event(kind, at, messageId=f"m{number}", traits=values, properties=values, context=context, **fields)

    history = [
        says(1, "identify", 1, True, **ids),
        says(2, "identify", 1, False, **ids),
        says(3, "track", 2, True, event="A", anonymousId="a1"),
        says(4, "track", 0, False, event="A", **ids),
    ]
    expected = ended(run(PROJECTIONS[name], history))
    for order in permutations(history):
        assert ended(run(PROJECTIONS[name], order[:2], [*order, order[0]])) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTIONS)
@given(bodies=HISTORIES, data=st.data())
def test_any_order_duplication_and_split_ends_the_same(event, run, name, bodies, data):
    projection = PROJECTIONS[name]
    history = [event(**body, messageId=f"m{number}") for number, body in enumerate(bodies)]
    history = [one for one in history if one.type in projection.topics]
    again = data.draw(st.lists(st.sampled_from(history), max_size=6)) if history else []
    shuffled = data.draw(st.permutations(history + again))
    cuts = data.draw(st.lists(st.integers(0, 20), max_size=3))
    assert ended(run(projection, *split(shuffled, cuts))) == ended(run(projection, history))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audiences", "consent"])
@given(bodies=HISTORIES, data=st.data())
def test_two_contents_of_one_message_id_at_one_time_end_the_same_in_any_order(event, run, name, bodies, data):
    projection = PROJECTIONS[name]
    history = [event(**body, messageId="m") for body in bodies]
    shuffled = data.draw(st.permutations(history))
    assert ended(run(projection, shuffled)) == ended(run(projection, history))


@pytest.mark.slow
@given(bodies=HISTORIES, time=st.sampled_from([-1.0, 0.0, 1.0, 2.0]))
def test_what_is_left_of_rows_is_what_the_younger_events_alone_would_have_made(event, run, base, bodies, time):
    history = [event(**body, messageId=f"m{number}") for number, body in enumerate(bodies)]
    for name, projection in PROJECTIONS.items():
        seen = [one for one in history if one.type in projection.topics]
        rows = run(projection, seen).rows.get(name, {})
        left = {subject: row.without(base + time) for subject, row in rows.items()}
        alone = run(projection, [one for one in seen if one.time > base + time]).rows.get(name, {})
        assert {s: _facts(row) for s, row in left.items() if row} == {s: _facts(row) for s, row in alone.items()}


@pytest.mark.slow
@given(bodies=HISTORIES, data=st.data())
def test_a_person_is_the_same_in_whatever_order_subjects_and_rows_are_given(event, run, base, bodies, data):
    history = [event(**body, messageId=f"m{number}") for number, body in enumerate(bodies)]
    rows = {}
    for projection in PROJECTIONS.values():
        rows |= run(projection, [one for one in history if one.type in projection.topics]).rows
    subjects = ["user:u1", "user:u2", "anon:a1", "anon:a2"]
    links = {"anon:a1": ("user:u1", base + 1), "user:u2": ("user:u1", base + 1), "anon:a2": ("user:u2", base)}
    mixed = {table: {s: rows[table][s] for s in data.draw(st.permutations(sorted(rows[table])))} for table in rows}
    one, other = (
        msgspec.json.encode(assemble(order, of, links, {}), order="sorted")
        for order, of in ((subjects, rows), (data.draw(st.permutations(subjects)), mixed))
    )
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PROJECTIONS, "deletion"])
@given(body=ODD, data=st.data())
def test_odd_content_never_ends_but_in_a_named_fate(run, name, body, data):
    projection = {**PROJECTIONS, "deletion": Deletion()}[name]
    kind = data.draw(st.sampled_from(projection.topics))
    odd = decode(Message(f"segment.{kind}", b"k", msgspec.json.encode(body), (("received", b"1700000000"),)))
    projection.subjects(odd)
    assert run(projection, [odd]).fates[0].partition(":")[0] in ("applied", "skip", "dead")
    if hasattr(projection, "rows"):
        run(projection, [odd], refuse=True)


def _facts(row):
    """A row without what is not kept across a deletion: counts and first seen."""
    for name in ("types", "events", "other", "recent", "first_seen"):
        if hasattr(row, name):
            setattr(row, name, None)
    return msgspec.json.encode(row, order="sorted")
