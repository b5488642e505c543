"""What must be sent, for whatever is wanted, was told, and is allowed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from stream.core.compare import Answers, Key, Wanted, compare, text, together

MINE, THEIRS = "audiences.crm", "consent.crm"
ADDRESSES = ("email:a@b.c", "email:d@e.f", "user_id:1")
THINGS = ("list:vip", "list:news", "consent:email", "profile")


class Told(Struct, frozen=True):
    address: str
    thing: str
    verb: str
    processor: str
    subject: str
    value: str | None


def verb(thing: str) -> str:
    return {"list": "set_membership", "consent": "set_consent"}.get(thing.partition(":")[0], "upsert_profile")


def want(address: str, thing: str, value: Any, person: str = "user:1", seen: float = 0.0) -> Wanted:
    return Wanted(address, thing, verb(thing), value, text(value), person, "marketing", seen)


def told(address: str, thing: str, value: Any, processor: str = MINE) -> Told:
    return Told(address, thing, verb(thing), processor, "user:1", None if value is ... else text(value))


def values(thing: str) -> st.SearchStrategy[Any]:
    return st.sampled_from([{"name": "Ada"}, {"name": "Bob"}]) if thing == "profile" else st.booleans()


@st.composite
def wants(draw: st.DrawFn) -> list[Wanted]:
    found = []
    for _ in range(draw(st.integers(0, 8))):
        address, thing = draw(st.sampled_from(ADDRESSES)), draw(st.sampled_from(THINGS))
        person, seen = draw(st.sampled_from(["user:1", "user:2", "anon:3"])), draw(st.sampled_from([0.0, 1.0, 2.0]))
        found.append(want(address, thing, draw(values(thing)), person, seen))
    return found


@st.composite
def known(draw: st.DrawFn) -> dict[Key, Told]:
    found = {}
    for _ in range(draw(st.integers(0, 8))):
        address, thing = draw(st.sampled_from(ADDRESSES)), draw(st.sampled_from(THINGS))
        value = draw(st.one_of(st.just(...), values(thing)))
        found[address, thing] = told(address, thing, value, draw(st.sampled_from([MINE, THEIRS])))
    return found


refusals = st.dictionaries(st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(THINGS)), st.just("opted_out"))


def after(state: dict[Key, Told], sent: list[Wanted]) -> dict[Key, Told]:
    """What is known once all of it was sent."""
    return state | {one.key: Told(*one.key, one.verb, MINE, one.person, one.text) for one in sent}


@pytest.mark.slow
@given(wants(), known(), refusals)
def test_once_all_of_it_is_sent_nothing_differs(
    wanted: list[Wanted], state: dict[Key, Told], refused: dict[Key, str]
) -> None:
    first = compare(together(wanted), state, Answers(refused), MINE)
    again = compare(together(wanted), after(state, first.send), Answers(refused), MINE)
    assert again.send == []


@pytest.mark.slow
@given(wants(), known(), refusals)
def test_in_the_end_it_is_as_wanted_where_that_is_allowed_and_nothing_else_of_ours_is_given(
    wanted: list[Wanted], state: dict[Key, Told], refused: dict[Key, str]
) -> None:
    those = together(wanted)
    end = after(state, compare(those, state, Answers(refused), MINE).send)
    for key, wishes in those.items():
        if wishes[0].gives and key not in refused:
            assert end[key].value == wishes[0].text
        elif wishes[0].verb != "upsert_profile" and key in end and end[key].processor == MINE:
            assert end[key].value == "false"
    for key, one in end.items():
        if key not in those and one.processor == MINE and one.verb != "upsert_profile":
            assert one.value == "false"


@pytest.mark.slow
@given(wants(), known(), refusals)
def test_what_takes_away_comes_first(wanted: list[Wanted], state: dict[Key, Told], refused: dict[Key, str]) -> None:
    gives = [one.gives for one in compare(together(wanted), state, Answers(refused), MINE).send]
    assert gives == sorted(gives)


@pytest.mark.slow
@given(wants(), known(), refusals)
def test_what_is_refused_is_never_given(wanted: list[Wanted], state: dict[Key, Told], refused: dict[Key, str]) -> None:
    for everything in (False, True):
        sent = compare(together(wanted), state, Answers(refused), MINE, everything).send
        assert not [one for one in sent if one.gives and one.key in refused]


@pytest.mark.slow
@given(wants(), known())
def test_while_the_gate_answers_nobody_nothing_is_given_and_nothing_is_taken_from_who_wants_it(
    wanted: list[Wanted], state: dict[Key, Told]
) -> None:
    those = together(wanted)
    closed = compare(those, state, Answers({}, asked=False), MINE)
    opened = compare(those, state, Answers({}), MINE)
    assert closed.send == [one for one in opened.send if not one.gives]
    assert closed.waits == any(one.gives for one in opened.send)


@pytest.mark.slow
@given(wants(), known(), refusals)
def test_what_another_processor_told_is_left_alone_unless_it_is_wanted(
    wanted: list[Wanted], state: dict[Key, Told], refused: dict[Key, str]
) -> None:
    those = together(wanted)
    for one in compare(those, state, Answers(refused), MINE).send:
        assert one.key in those or state[one.key].processor == MINE


@pytest.mark.slow
@given(st.permutations([("user:1", True, 1.0), ("user:2", False, 3.0), ("user:3", True, 2.0)]))
def test_of_several_people_the_order_does_not_matter(people: list[tuple[str, bool, float]]) -> None:
    address = "email:a@b.c"
    wanted = [want(address, thing, value, p, seen) for p, value, seen in people for thing in ("list:vip", "consent:x")]
    wanted += [want(address, "profile", {"of": p}, p, seen) for p, _, seen in people]
    first = {key: those[0].value for key, those in together(wanted).items()}
    assert first == {
        (address, "list:vip"): True,  # one of them wants to be on it
        (address, "consent:x"): False,  # one of them refuses
        (address, "profile"): {"of": "user:2"},  # seen last
    }


def test_where_nothing_was_ever_told_there_is_nothing_to_withdraw_but_an_opt_out_is_sent() -> None:
    out = want("email:a@b.c", "consent:email", False)
    off = want("email:a@b.c", "list:vip", False)
    assert compare(together([out, off]), {}, Answers({}), MINE).send == [out]


def test_a_membership_that_may_be_there_is_taken_away() -> None:
    unknown = told("email:a@b.c", "list:vip", ...)
    (sent,) = compare({}, {("email:a@b.c", "list:vip"): unknown}, Answers({}), MINE).send
    assert (sent.verb, sent.value, sent.person) == ("set_membership", False, "user:1")


def test_a_profile_is_not_taken_away() -> None:
    was = told("email:a@b.c", "profile", {"name": "Ada"})
    assert compare({}, {("email:a@b.c", "profile"): was}, Answers({}), MINE).send == []


def test_an_opt_out_goes_before_leaving_a_list_and_a_profile_before_joining_one() -> None:
    wanted = [
        want("email:a@b.c", "list:in", True),
        want("email:a@b.c", "profile", {}),
        want("x:y", "consent:email", False),
    ]
    state = {("email:a@b.c", "list:out"): told("email:a@b.c", "list:out", True)}
    sent = compare(together(wanted), state, Answers({}), MINE).send
    assert [one.thing for one in sent] == ["consent:email", "list:out", "profile", "list:in"]


def test_an_open_deletion_is_sent_whatever_was_told() -> None:
    delete = Wanted("email:a@b.c", "person", "delete_person", None, "null", "user:1")
    for value in (None, "null"):
        was = Told("email:a@b.c", "person", "delete_person", MINE, "user:1", value)
        assert compare(together([delete]), {delete.key: was}, Answers({}), MINE).send == [delete]
        assert compare({}, {delete.key: was}, Answers({}), MINE).send == []


def test_everything_sends_what_is_known_to_be_so() -> None:
    wanted = [want("email:a@b.c", "list:vip", True), want("email:a@b.c", "consent:email", False)]
    state = {one.key: told(*one.key, one.value) for one in wanted}
    assert compare(together(wanted), state, Answers({}), MINE).send == []
    assert len(compare(together(wanted), state, Answers({}), MINE, everything=True).send) == 2


@pytest.mark.parametrize(("one", "other"), [({"a": 1, "b": 2}, {"b": 2, "a": 1}), (True, True), (None, None)])
def test_equal_values_have_the_same_text(one: Any, other: Any) -> None:
    assert text(one) == text(other)
