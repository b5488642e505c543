"""A position never passes an open delivery, and every fate is told once."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.tracker import Passed, Tracker

gaps = st.lists(st.integers(1, 3), min_size=1, max_size=15)


def opened(position: int, steps: list[int]) -> tuple[Tracker, list[int]]:
    """A tracker, and the offsets that are open in it, with gaps as after compaction."""
    tracker, offsets, at = Tracker(position), [], position - 1
    for step in steps:
        at += step
        tracker.open(at)
        offsets.append(at)
    return tracker, offsets


@settings(max_examples=50)
@given(st.integers(0, 5), gaps, st.data())
def test_a_position_never_passes_an_open_delivery_and_fates_add_up(position, steps, data):
    tracker, offsets = opened(position, steps)
    ends = data.draw(st.permutations(offsets))
    fates = {offset: data.draw(st.sampled_from(["applied", "held", "skipped:late"])) for offset in offsets}
    still, written, reached = set(offsets), Counter(), position
    for offset in ends:
        tracker.close(offset, fates[offset])
        still.remove(offset)
        assert tracker.amount == len(still)
        passed = tracker.passed()
        assert passed.position == (min(still) if still else offsets[-1] + 1)
        assert sum(passed.fates.values()) == sum(reached <= one < passed.position for one in offsets)
        if data.draw(st.booleans()):  # otherwise its commit failed, and the next says it again
            tracker.written(passed)
            written.update(passed.fates)
            reached = tracker.position
            assert reached == passed.position
    tracker.written(last := tracker.passed())
    written.update(last.fates)
    assert written == Counter(fates.values())
    assert tracker.passed() == Passed(offsets[-1] + 1, {})


@given(gaps, st.data())
def test_what_closes_while_a_commit_is_under_way_is_in_the_next(steps, data):
    tracker, offsets = opened(0, steps)
    before = data.draw(st.integers(0, len(offsets)))
    for offset in offsets[:before]:
        tracker.close(offset, "applied")
    passed = tracker.passed()
    for offset in offsets[before:]:
        tracker.close(offset, "applied")
    tracker.passed()
    tracker.written(passed)
    left = len(offsets) - before
    assert tracker.passed() == Passed(offsets[-1] + 1, {"applied": left} if left else {})


def test_what_the_log_left_out_is_passed_without_a_fate():
    tracker = Tracker(5)
    assert tracker.passed() == Passed(5, {})
    tracker.open(9)
    assert tracker.passed() == Passed(9, {})
    tracker.close(9, "applied")
    assert tracker.passed() == Passed(10, {"applied": 1})


def test_a_delivery_ends_once_and_only_if_it_is_here():
    tracker, _ = opened(0, [1, 1])
    tracker.close(0, "applied")
    for offset in (0, 7):
        with pytest.raises(KeyError):
            tracker.close(offset, "applied")
    assert tracker.passed() == Passed(1, {"applied": 1})


def test_nothing_is_opened_twice_or_before_the_position():
    tracker, _ = opened(3, [1, 1])
    assert tracker.next == 5
    for offset in (2, 4):
        with pytest.raises(ValueError, match=f"offset {offset}"):
            tracker.open(offset)
    assert tracker.amount == 2
