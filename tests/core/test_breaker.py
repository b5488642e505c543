"""Is the destination down, or is it this one person?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.breaker import Breaker


def note(breaker: Breaker, *people: str, failed: bool, now: float = 0.0) -> None:
    for person in people:
        breaker.note(person, failed, now)


def some(prefix: str, amount: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(amount)]


def tripped(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    note(breaker, *some("down", 8), failed=True, now=now)
    assert breaker.open
    return breaker


def test_it_opens_when_most_of_enough_people_fail():
    breaker = Breaker()
    note(breaker, *some("p", 7), failed=True)
    assert not breaker.open
    note(breaker, "another", failed=True)
    assert breaker.open


def test_four_in_five_are_not_enough_to_call_it_an_outage():
    breaker = Breaker()
    for number in range(50):
        note(breaker, f"well{number}", failed=False)
        note(breaker, *some(f"ill{number}-", 4), failed=True)
    assert not breaker.open
    note(breaker, "one more", failed=True)
    assert breaker.open


@given(st.integers(1, 7), st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=200))
def test_however_often_a_few_people_fail_it_stays_closed(few, attempts):
    breaker = Breaker()
    for person, failed in attempts:
        breaker.note(f"p{person % few}", failed, 0.0)
    assert not breaker.open


def test_those_who_fail_again_and_again_do_not_outnumber_those_who_come_once():
    breaker = Breaker()
    note(breaker, *some("early", 20), failed=False)
    for number in range(15):
        note(breaker, f"ill{number}", failed=True)
        note(breaker, f"beside{number}", failed=False)
    for number in range(100):
        note(breaker, *some("ill", 15), failed=True)
        note(breaker, f"well{number}", failed=False)
        assert not breaker.open


def test_somebody_for_whom_it_works_again_is_news_when_failing_anew():
    breaker = Breaker()
    note(breaker, *some("p", 8), failed=False)
    note(breaker, *some("p", 6), failed=True)
    note(breaker, *some("p", 6), failed=False)
    note(breaker, *some("p", 6), failed=True)
    assert not breaker.open
    note(breaker, "p6", failed=True)
    assert breaker.open


def test_it_is_this_one_person_only_if_it_worked_for_another_meanwhile():
    breaker = Breaker()
    note(breaker, *some("well", 7), failed=False, now=1.0)
    note(breaker, "ill", failed=True, now=10.0)
    assert not breaker.tells(since=10.0)  # the others may have been hours ago
    note(breaker, "well again", failed=False, now=11.0)
    assert breaker.tells(since=10.0)
    assert not breaker.tells(since=12.0)


def test_with_too_few_people_nobody_can_tell():
    breaker = Breaker()
    note(breaker, "ill", failed=True, now=1.0)
    note(breaker, *some("well", 6), failed=False, now=2.0)
    assert not breaker.tells(since=1.0)
    note(breaker, "one more", failed=False, now=2.0)
    assert breaker.tells(since=1.0)


def test_while_open_it_tells_nothing_and_asks_one_person_after_another():
    breaker = tripped(now=100.0)
    note(breaker, *some("late", 9), failed=True, now=100.0)
    note(breaker, "lucky", failed=False, now=100.0)
    assert breaker.open
    assert not breaker.tells(since=99.0)
    breaker = tripped(now=100.0)
    assert not breaker.may_probe(100.9)
    assert breaker.may_probe(101.0)
    assert not breaker.may_probe(101.5)


def test_the_pause_between_probes_grows_and_ends_at_half_a_minute():
    breaker, now, pauses = tripped(), 1.0, []
    for number in range(8):
        assert breaker.may_probe(now)
        breaker.note(f"down{number}", True, now)
        pauses.append(breaker.next_probe - now)
        now = breaker.next_probe
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_after_somebody_new_the_next_one_is_asked_sooner_but_not_for_ever():
    breaker, now = tripped(), 1.0
    for number in range(200):
        assert breaker.may_probe(now)
        breaker.note(f"q{number}", True, now)
        if number >= 3:
            assert breaker.next_probe - now == (5 if number < 100 else 30)
        now = breaker.next_probe


def test_what_was_under_way_when_it_opened_does_not_make_the_pause_grow():
    breaker = tripped()
    note(breaker, *some("late", 50), failed=True)
    assert breaker.next_probe == 1.0
    assert breaker.may_probe(1.0)
    breaker.note("q", True, 1.0)
    assert breaker.next_probe == 2.0


def test_a_destination_that_says_when_is_not_asked_before():
    breaker = Breaker()
    for number in range(8):
        breaker.note(f"p{number}", True, 0.0, after=60.0 if number == 3 else None)
    assert breaker.next_probe == 60.0
    assert breaker.may_probe(60.0)
    breaker.note("q", True, 60.0, after=600.0)
    assert breaker.next_probe == 660.0


def test_what_one_person_was_told_is_forgotten_once_it_works_for_another():
    breaker = Breaker()
    breaker.note("told", True, 0.0, after=3_600.0)
    note(breaker, "well", failed=False)
    note(breaker, *some("down", 8), failed=True)
    assert breaker.next_probe == 1.0


def test_it_closes_after_three_different_people_and_forgets_who_failed():
    breaker = tripped()
    for person in ("a", "a", "b", "b"):
        assert breaker.may_probe(breaker.next_probe)
        breaker.note(person, False, breaker.next_probe)
        assert breaker.open
    breaker.note("c", False, breaker.next_probe)
    assert not breaker.open
    assert breaker.tells(since=0.0)  # those three have just said so
    note(breaker, *some("new", 4), failed=True)
    assert not breaker.open


def test_those_who_fail_again_while_it_is_open_keep_it_open():
    breaker = tripped()
    note(breaker, *some("down", 16), failed=True)
    note(breaker, *some("well", 3), failed=False)
    assert breaker.open
    note(breaker, "well3", failed=False)
    assert not breaker.open


def test_a_probe_that_failed_does_not_count_once_it_is_closed():
    breaker = tripped()
    note(breaker, "x", "y", failed=True)
    note(breaker, "a", "b", "c", failed=False)
    assert not breaker.open
    note(breaker, *some("new", 12), failed=True)
    assert not breaker.open
    note(breaker, "new12", failed=True)
    assert breaker.open


def test_a_success_lets_the_next_probe_go_at_once():
    breaker, now = tripped(), 1.0
    for number in range(5):
        assert breaker.may_probe(now)
        breaker.note(f"q{number}", True, now)
        now = breaker.next_probe
    assert breaker.may_probe(now)
    breaker.note("a", False, now)
    assert breaker.may_probe(now)
    breaker.note("b", True, now)
    assert breaker.next_probe == now + 1


def test_it_stays_open_while_most_probes_fail():
    breaker = tripped()
    for number in range(60):
        breaker.note(f"q{number}", number % 10 > 0, float(number))
        assert breaker.open
    note(breaker, *some("well", 4), failed=False)
    assert not breaker.open


@pytest.mark.parametrize("left", [0, 1])
def test_with_nobody_else_to_ask_fewer_probes_do(left):
    breaker = tripped()
    breaker.note("a", False, 1.0, left=left)
    assert breaker.open == bool(left)


def test_a_probe_that_asked_nothing_lets_the_next_go_at_once():
    breaker = tripped()
    assert breaker.may_probe(1.0)
    breaker.unasked(1.1)
    assert breaker.may_probe(1.1)


def test_a_probe_of_which_nobody_hears_blocks_nothing_for_ever():
    breaker = tripped()
    assert breaker.may_probe(1.0)
    assert not breaker.may_probe(1.9)
    assert breaker.may_probe(2.0)


def test_a_closed_breaker_has_nothing_to_probe():
    assert not Breaker().may_probe(1e9)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 40)), max_size=60))
def test_whatever_happened_it_closes_once_everybody_is_well(history):
    breaker, now = Breaker(), 0.0
    for person, failed, wait in history:
        now += wait
        if not breaker.open or breaker.may_probe(now):
            breaker.note(f"p{person}", failed, now)
    for number in range(15):
        now = max(now, breaker.next_probe)
        assert not breaker.open or breaker.may_probe(now)
        breaker.note(f"well{number}", False, now)
    assert not breaker.open
