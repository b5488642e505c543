import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.config import IdentityConfig
from stream.core.identity import identifier, keep, kind, linkable, owner, person_key

NEVER = IdentityConfig().never_link
PAIRS = st.lists(
    st.tuples(st.sampled_from(["user:1", "user:2", "user:3", "user:4", "user:5"]), st.sampled_from([1.0, 2.0, 3.0])),
    max_size=12,
)


@given(PAIRS, st.data())
def test_merges_commute(pairs, data):
    shuffled = data.draw(st.permutations(pairs + pairs[: data.draw(st.integers(0, len(pairs)))]))
    assert owner(shuffled, 3) == owner(pairs, 3)
    assert keep(shuffled, 4) == keep(pairs, 4)


@given(PAIRS, st.integers(0, 12), st.integers(1, 4))
def test_cutting_as_links_come_is_as_cutting_at_the_end(pairs, cut, limit):
    assert keep(keep(pairs[:cut], limit) + pairs[cut:], limit) == keep(pairs, limit)


@given(PAIRS, st.integers(1, 4))
def test_one_more_than_the_maximum_is_enough_to_know_who_is_shared(pairs, most):
    assert owner(keep(pairs, most + 1), most) == owner(pairs, most)


def test_the_earliest_link_wins_and_the_smaller_subject_among_equals():
    assert owner([("user:2", 1.0), ("user:1", 2.0)], 25) == "user:2"
    assert owner([("user:2", 1.0), ("user:1", 1.0)], 25) == "user:1"
    assert owner([], 25) is None


def test_a_subject_with_too_many_links_is_shared_and_links_nobody():
    pairs = [(f"user:{n}", float(n)) for n in range(3)]
    assert owner(pairs, 3) == "user:0"
    assert owner(pairs, 2) is None
    assert owner([*pairs, *pairs], 3) == "user:0"


def test_a_person_is_named_by_the_smallest_user_else_the_smallest_subject():
    assert person_key(["anon:1", "user:b", "user:a"]) == "user:a"
    assert person_key(["anon:2", "anon:1"]) == "anon:1"
    assert person_key(["staging/anon:1", "staging/user:9"]) == "staging/user:9"


@pytest.mark.parametrize("value", [*NEVER, "NULL", "Anonymous", "00000000-0000-0000-0000-000000000000", "---"])
def test_what_stands_for_nobody_never_links(value):
    assert not linkable(value, NEVER)
    assert linkable("u1", NEVER)
    assert not linkable("u1", ("U1",))


@pytest.mark.parametrize(
    ("subject", "what", "who"),
    [
        ("user:1", "user", "1"),
        ("staging/anon:9", "anon", "9"),
        ("anon:a/user:b", "anon", "a/user:b"),
        ("staging/user:x:y", "user", "x:y"),
        ("group:acme", "group", "acme"),
    ],
)
def test_a_subject_tells_its_kind_and_its_identifier_in_any_space(subject, what, who):
    assert kind(subject) == what
    assert identifier(subject) == who
