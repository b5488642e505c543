"""Order per key, never two of a key at once, and nothing lost on the way."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.lanes import Lanes, Taken

KEYS = "abc"
keys = st.sampled_from(KEYS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("done"), keys),
        st.tuples(st.just("again"), st.tuples(keys, st.integers(0, 4))),
        st.tuples(st.just("drop"), keys),
        st.tuples(st.just("discard"), st.integers(0, 2)),
        st.tuples(st.just("pass"), st.integers(1, 3)),
    ),
    max_size=60,
)


class Model:
    """Lanes in the plainest words, beside the real ones: each step is made in both and compared."""

    def __init__(self, joins: bool) -> None:
        self.lanes: Lanes[int] = Lanes(joins)
        self.joins = joins
        self.waiting: dict[str, list[int]] = defaultdict(list)
        self.busy: dict[str, Taken[int]] = {}
        self.due: dict[str, float] = {}
        self.now = self.number = 0

    def ready(self) -> set[str]:
        return {key for key in KEYS if self.waiting[key] and key not in self.busy and self.due.get(key, 0) <= self.now}

    def put(self, key: str) -> None:
        self.number += 1
        self.lanes.put(key, self.number)
        self.waiting[key].append(self.number)

    def take(self, _: int) -> None:
        ready = self.ready()
        taken = self.lanes.take(self.now)
        assert (taken is not None) == bool(ready)
        if taken is not None:
            assert taken.key in ready
            some = len(self.waiting[taken.key]) if self.joins else 1
            assert taken.items == self.waiting[taken.key][:some]
            del self.waiting[taken.key][:some]
            self.due.pop(taken.key, None)
            self.busy[taken.key] = taken

    def done(self, key: str) -> None:
        if self.busy.pop(key, None):
            self.lanes.done(key)

    def again(self, what: tuple[str, int]) -> None:
        key, wait = what
        if taken := self.busy.pop(key, None):
            self.lanes.again(taken, self.now + wait)
            self.waiting[key][:0] = taken.items
            self.due[key] = self.now + wait

    def drop(self, key: str) -> None:
        assert self.lanes.drop(key) == self.waiting.pop(key, [])
        self.due.pop(key, None)

    def discard(self, rest: int) -> None:
        before = sum(map(len, self.waiting.values()))
        for key, items in self.waiting.items():
            items[:] = [item for item in items if item % 3 != rest]
            if not items:
                self.due.pop(key, None)
        gone = self.lanes.discard(lambda item: item % 3 == rest)
        assert gone == before - sum(map(len, self.waiting.values()))

    def pass_(self, seconds: int) -> None:
        self.now += seconds

    def compare(self) -> None:
        assert len(self.lanes) == sum(map(len, self.waiting.values()))
        assert [self.lanes.waiting(key) for key in KEYS] == [len(self.waiting[key]) for key in KEYS]
        assert self.lanes.keys == sum(map(bool, self.waiting.values()))
        assert self.lanes.busy == len(self.busy)
        later = [due for due in self.due.values() if due > self.now]
        due = self.lanes.due()
        if due is None or due > self.now:  # one that is past may not have been looked at yet
            assert due == min(later, default=None)


@pytest.mark.parametrize("joins", [False, True])
@settings(deadline=None)
@given(steps=steps)
def test_lanes_do_what_plain_lists_would_do(joins, steps):
    model = Model(joins)
    for name, what in steps:
        getattr(model, "pass_" if name == "pass" else name)(what)
        model.compare()


def all_of(lanes: Lanes[int], now: float = 0.0) -> list[tuple[str, list[int]]]:
    taken = []
    while (one := lanes.take(now)) is not None:
        taken.append((one.key, one.items))
    return taken


def test_keys_come_in_the_order_in_which_they_became_ready():
    lanes: Lanes[int] = Lanes()
    for number, key in enumerate("abacb"):
        lanes.put(key, number)
    assert all_of(lanes) == [("a", [0]), ("b", [1]), ("c", [3])]
    for key in "cba":
        lanes.done(key)
    assert all_of(lanes) == [("b", [4]), ("a", [2])]


def test_a_key_that_always_has_more_keeps_nobody_waiting():
    lanes: Lanes[int] = Lanes()
    for number in range(100):
        lanes.put("busy", number)
    lanes.put("other", 0)
    first = lanes.take(0)
    assert first is not None
    lanes.done(first.key)
    assert lanes.take(0) == Taken("other", [0])


def test_what_failed_comes_back_first_and_keeps_the_rest_of_its_key_behind_it():
    lanes: Lanes[int] = Lanes(joins=True)
    for number in range(3):
        lanes.put("a", number)
    taken = lanes.take(0)
    assert taken == Taken("a", [0, 1, 2])
    lanes.put("a", 3)
    lanes.again(taken, due=5.0)
    lanes.put("a", 4)
    assert len(lanes) == lanes.waiting("a") == 5
    assert lanes.due() == 5.0
    assert lanes.take(4.9) is None
    assert lanes.take(5.0) == Taken("a", [0, 1, 2, 3, 4])


def test_a_dropped_key_that_comes_again_does_not_wait_for_what_was_dropped():
    lanes: Lanes[int] = Lanes()
    lanes.put("a", 0)
    taken = lanes.take(0)
    assert taken is not None
    lanes.again(taken, due=100.0)
    assert lanes.drop("a") == [0]
    assert lanes.due() is None
    lanes.put("a", 1)
    assert lanes.take(0) == Taken("a", [1])


def test_of_two_times_for_a_key_the_later_given_one_counts():
    lanes: Lanes[int] = Lanes()
    for number, due in enumerate((5.0, 10.0)):
        lanes.put("a", number)
        taken = lanes.take(0)
        assert taken is not None
        lanes.again(taken, due)
        if not number:
            lanes.drop("a")
    assert lanes.take(5.0) is None
    assert lanes.take(10.0) == Taken("a", [1])


def test_nothing_ends_that_was_not_taken():
    lanes: Lanes[int] = Lanes()
    lanes.put("a", 0)
    with pytest.raises(KeyError):
        lanes.done("a")


def test_where_new_ones_come_first_one_that_was_put_off_comes_only_when_there_is_none():
    lanes: Lanes[int] = Lanes()
    for key in "ab":
        lanes.put(key, 0)
        taken = lanes.take(0)
        assert taken is not None
        lanes.again(taken, due=1.0)
    lanes.put("new", 0)
    assert [lanes.take(5.0, new_first=True), lanes.take(5.0, new_first=True)] == [Taken("new", [0]), Taken("a", [0])]
    lanes.put("newer", 0)
    assert lanes.take(5.0, new_first=True) == Taken("newer", [0])
    assert [lanes.take(0.5, new_first=True), lanes.take(5.0, new_first=True)] == [None, Taken("b", [0])]
