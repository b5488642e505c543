"""No window of any rate ever holds more than it may, and no more is waited than that takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.bucket import Buckets, Rate
from stream.errors import ConfigError

rates = st.lists(st.builds(Rate, st.integers(1, 12), st.sampled_from([1.0, 4.0, 16.0])), min_size=1, max_size=3)
# Times are multiples of 1/64: sums of them are exact.
pauses = st.lists(st.integers(0, 200).map(lambda number: number / 64), max_size=80)


def exceeded(taken: list[float], rate: Rate) -> bool:
    """Is there a stretch of that many seconds with more in it?"""
    return any(later - sooner < rate.seconds for sooner, later in zip(taken, taken[rate.amount :], strict=False))


@settings(max_examples=50)
@given(rates, pauses)
def test_no_window_ever_holds_more_than_its_rate(rates, pauses):
    buckets, now, taken = Buckets(rates, 0.0), 0.0, []
    for pause in pauses:
        now += pause
        if buckets.take(now) == 0.0:
            taken.append(now)
    assert not any(exceeded(taken, rate) for rate in rates)


@given(rates, st.lists(st.tuples(st.integers(0, 64), st.booleans(), st.integers(0, 8)), max_size=80))
def test_what_is_given_back_is_never_taken_from_another(rates, story):
    buckets, now, used, unused = Buckets(rates, 0.0), 0.0, [], []
    for pause, gives_back, which in story:
        now += pause / 64
        if unused and gives_back:
            buckets.give_back(unused.pop(which % len(unused)))
        elif buckets.take(now) == 0.0:
            (unused if which > 4 else used).append(now)
    assert not any(exceeded(used, rate) for rate in rates)


@given(rates, pauses)
def test_who_waits_as_long_as_told_comes_through_soon(rates, pauses):
    buckets, now = Buckets(rates, 0.0), 0.0
    for pause in pauses:
        now += pause
        buckets.take(now)
    for _ in range(3 * 12):
        wait = buckets.take(now)
        if wait == 0.0:
            break
        assert wait <= max(rate.seconds for rate in rates)
        now += wait
    else:
        raise AssertionError("it waited three dozen times")


@settings(max_examples=40)
@given(st.integers(1, 300), st.sampled_from([1.0, 60.0, 86_400.0]))
def test_a_burst_may_use_all_at_once_and_what_is_wasted_is_a_hundredth_at_most(amount, seconds):
    buckets = Buckets([Rate(amount, seconds)], 0.0)
    assert [buckets.take(0.0) for _ in range(amount)] == [0.0] * amount
    assert buckets.take(seconds / 2) == seconds / 2
    assert buckets.take(seconds) == 0.0

    buckets, now, taken = Buckets([Rate(amount, seconds)], 0.0), 0.0, 0
    while now < seconds * 3:
        wait = buckets.take(now)
        taken += not wait
        now += wait or seconds / amount / 2
    assert taken >= 3 * amount / 1.02 - 1


def test_all_rates_hold_at_once_and_a_refusal_takes_from_none():
    buckets = Buckets([Rate.parse("2/s"), Rate.parse("3/min")], 0.0)
    assert buckets.take(0.0) == buckets.take(0.0) == 0.0
    assert buckets.take(0.25) == 0.75
    assert buckets.take(1.0) == 0.0
    assert buckets.take(1.5) == 58.5
    assert buckets.take(60.0) == 0.0


def test_a_token_that_is_given_back_can_be_taken():
    buckets = Buckets([Rate.parse("1/day")], 0.0)
    assert buckets.take(5.0) == 0.0
    assert buckets.take(6.0) > 0
    buckets.give_back(5.0)
    assert buckets.take(6.0) == 0.0


def test_a_token_whose_window_is_over_has_come_back_by_itself():
    buckets = Buckets([Rate.parse("1/s")], 0.0)
    assert buckets.take(0.0) == 0.0
    assert buckets.take(1.0) == 0.0
    buckets.give_back(0.0)
    assert buckets.take(1.5) == 0.5


def test_nobody_is_let_through_before_the_destination_said():
    buckets = Buckets([], 0.0)
    assert buckets.take(0.0) == 0.0
    buckets.pause(60.0)
    buckets.pause(30.0)
    assert buckets.take(20.0) == 40.0
    assert buckets.take(60.0) == 0.0


def test_a_clock_that_goes_back_gives_nothing_away():
    buckets = Buckets([Rate.parse("2/s")], 0.0)
    assert [buckets.take(time) for time in (10.0, 9.0)] == [0.0, 0.0]
    assert buckets.take(10.5) == 0.5


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("40/s", Rate(40, 1.0)),
        ("1200/min", Rate(1_200, 60.0)),
        ("10000/h", Rate(10_000, 3_600.0)),
        ("100000/day", Rate(100_000, 86_400.0)),
    ],
)
def test_a_rate_is_read(text, rate):
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "40", "40/", "/s", "0/s", "-1/s", "1.5/s", "40/sec", "40 / s", "40/s ", "٤/s"])
def test_what_is_no_rate_is_refused_with_what_is_allowed(text):
    with pytest.raises(ConfigError, match='"1200/min"'):
        Rate.parse(text)
