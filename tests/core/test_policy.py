"""Is the destination down, or is it this one person? The decisions one by one, and then whole streams of people in a
clock of their own."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stream.core.breaker import Breaker
from stream.core.lanes import Lanes, Taken
from stream.core.policy import LONGEST_S, Die, Hold, Leave, Situation, Tries, Wait, backoff, crowds, decide
from stream.errors import Dead, NotYet, Refused, Retry, Skip

NOW = 1_000.0
CALM = Situation(
    time=NOW, open=False, tells=True, waiting=1, window=2_000, full=False, room=True, patience_s=5.0
)  # one person fails, others do not
TWICE = Tries(failed=2, since=NOW - 1)
LONG = Tries(failed=8, since=NOW - 6)


def in_case(**changes: object) -> Situation:
    return structs.replace(CALM, **changes)


def test_what_an_author_says_is_the_end_ends_it_at_once():
    assert decide(Skip("no_consent"), TWICE, CALM, 0.0) == Leave("skipped:no_consent")
    assert decide(Dead("bad_amount"), TWICE, CALM, 0.0) == Die("bad_amount")
    assert decide(Refused(404, b"a@b.c is unknown"), TWICE, CALM, 0.0) == Die("http_404")


def test_a_retry_waits_in_memory_and_then_its_lane_is_held():
    assert decide(Retry("http_500"), TWICE, CALM, 0.0) == Wait(NOW + 0.4)
    assert decide(Retry("http_500"), LONG, CALM, 0.0) == Hold(NOW + 25.6)


def test_a_destination_that_says_when_is_never_asked_earlier():
    for tries in (TWICE, LONG):
        asked = decide(Retry("http_429", after=70.0), tries, CALM, 0.0)
        assert asked == (Wait(NOW + 70) if tries is TWICE else Hold(NOW + 70))
        later = decide(Retry("http_429", after=70.0), tries, CALM, 1.0)
        assert later == (Wait(NOW + 77) if tries is TWICE else Hold(NOW + 77))


def test_a_lane_that_crowds_the_window_is_held_before_its_time():
    assert not crowds(200, 2_000)
    assert isinstance(decide(Retry("http_500"), TWICE, in_case(waiting=200), 0.0), Wait)
    assert isinstance(decide(Retry("http_500"), TWICE, in_case(waiting=201), 0.0), Hold)


@pytest.mark.parametrize("tries", [TWICE, LONG])
def test_nothing_is_held_while_the_breaker_is_open_or_no_lane_is_left(tries):
    for case in (in_case(open=True), in_case(room=False)):
        for waiting in (1, 2_000):
            crowded = structs.replace(case, waiting=waiting, full=waiting == 2_000)
            assert isinstance(decide(Retry("http_500"), tries, crowded, 0.0), Wait)


def test_with_nobody_to_compare_with_it_waits_until_the_window_is_full_of_it():
    alone = in_case(tells=False)
    assert isinstance(decide(Retry("http_500"), LONG, alone, 0.0), Wait)
    assert isinstance(decide(Retry("http_500"), LONG, structs.replace(alone, waiting=1_999), 0.0), Wait)
    assert isinstance(decide(Retry("http_500"), TWICE, structs.replace(alone, waiting=2_000, full=True), 0.0), Hold)
    # full of others, who are only waiting for their turn
    assert isinstance(decide(Retry("http_500"), LONG, structs.replace(alone, waiting=3, full=True), 0.0), Wait)


@pytest.mark.parametrize("case", [in_case(open=True, tells=False), in_case(tells=False)])
def test_what_nobody_can_get_past_is_held_unless_it_says_that_it_is_an_outage(case):
    stuck = structs.replace(case, full=True, stuck=True)
    assert isinstance(decide(Retry("http_500"), LONG, stuck, 0.0), Hold)
    assert isinstance(decide(Retry("http_500"), TWICE, stuck, 0.0), Wait)
    assert isinstance(decide(Retry("http_401", outage=True), LONG, stuck, 0.0), Wait)
    assert isinstance(decide(Retry("http_500"), LONG, structs.replace(stuck, room=False), 0.0), Wait)


def test_not_yet_counts_as_nothing_and_is_never_held():
    tries = Tries(failed=0)
    assert tries.another(NotYet("leased", after=20.0), NOW) is tries
    crowded = in_case(waiting=2_000, full=True)
    assert decide(NotYet("leased", after=20.0), LONG, crowded, 0.0) == Wait(NOW + 20)
    assert decide(NotYet("gate:consent_behind"), LONG, crowded, 0.0) == Wait(NOW + 1)


def test_a_bug_is_tried_three_times_whatever_came_before_it():
    tries = Tries()
    for _ in range(10):
        tries = tries.another(Retry("http_500"), NOW)
    met = []
    for _ in range(3):
        tries = tries.another(KeyError("email of a@b.c"), NOW)
        met.append(decide(KeyError("email of a@b.c"), tries, CALM, 0.0))
    assert met == [Wait(NOW + 0.2), Wait(NOW + 0.4), Die("bug:KeyError")]


def test_tries_remember_when_the_first_one_failed():
    tries = Tries().another(Retry("http_500"), 10.0).another(Retry("timeout"), 20.0)
    assert tries == Tries(failed=2, since=10.0)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.2, 3_600))
def test_a_pause_grows_to_its_bound_and_never_ends_before_half_of_itself(attempt, jitter, longest):
    pause, whole = backoff(attempt, jitter, longest), backoff(attempt, 0.0, longest)
    assert whole / 2 <= pause <= whole <= longest
    assert whole <= backoff(attempt + 1, 0.0, longest)
    assert backoff(100, 0.0, longest) == longest


# Whole streams


class Story:
    """A stream of people, each delivery asking a destination; what a runner does with it, in a clock of its own."""

    LATENCY, CONCURRENCY, PATIENCE = 0.05, 64, 5.0

    def __init__(
        self, log: Iterable[str], answer: Callable[[str, float], Exception | None], window: int = 2_000
    ) -> None:
        self.now = 0.0
        self.done: list[tuple[str, int]] = []
        self.last_done: dict[str, float] = {}
        self.held: dict[str, list[tuple[str, int]]] = {}
        self.dead: list[str] = []
        self.asked: list[float] = []
        self.opened: list[float] = []
        self._log = [(person, number) for number, person in enumerate(log)]
        self._log.reverse()
        self._answer, self._window = answer, window
        self._lanes: Lanes[tuple[str, int]] = Lanes()
        self._breaker = Breaker()
        self._failing: dict[str, tuple[Tries, Exception]] = {}
        self._running: list[tuple[float, int, Taken[tuple[str, int]]]] = []
        self._serial = itertools.count()
        self._random = random.Random(7)

    def run(self, until: float) -> "Story":
        while self.now < until and (self._log or self._running or len(self._lanes)):
            self._fetch()
            self._start()
            times = [self._running[0][0]] if self._running else []
            due = self._lanes.due()
            times += [due] if due is not None else []
            times += [self._breaker.next_probe] if self._breaker.open else []
            self.now = max(self.now, min([time for time in times if time > self.now], default=until))
            while self._running and self._running[0][0] <= self.now:
                self._finish(heapq.heappop(self._running)[2])
        return self

    @property
    def _in_memory(self) -> int:
        return len(self._lanes) + len(self._running)

    def _fetch(self) -> None:
        while self._log and self._in_memory < self._window and (not self._breaker.open or not self._in_memory):
            item = self._log.pop()
            person = item[0]
            if person in self.held:
                self.held[person].append(item)
                continue
            self._lanes.put(person, item)
            if person in self._failing and crowds(self._lanes.waiting(person), self._window):
                tries, error = self._failing[person]
                if isinstance(decide(error, tries, self._situation(person, tries, 0), 0.5), Hold):
                    self.held[person] = self._lanes.drop(person)

    def _start(self) -> None:
        while len(self._running) < self.CONCURRENCY:
            if self._breaker.open and not self._breaker.may_probe(self.now):
                return
            taken = self._lanes.take(self.now)
            if taken is None:
                self._breaker.unasked(self.now)
                return
            self.asked.append(self.now)
            heapq.heappush(self._running, (self.now + self.LATENCY, next(self._serial), taken))

    def _finish(self, taken: Taken[tuple[str, int]]) -> None:
        person = taken.key
        error = self._answer(person, self.now)
        if error is None or isinstance(error, Retry):
            after = error.after if isinstance(error, Retry) else None
            was_open = self._breaker.open
            self._breaker.note(person, error is not None, self.now, after, left=self._lanes.keys)
            self.opened += [self.now] if self._breaker.open and not was_open else []
        if error is None:
            self._failing.pop(person, None)
            self.done += taken.items
            self.last_done[person] = self.now
            self._lanes.done(person)
            return
        tries = self._failing.get(person, (Tries(), error))[0].another(error, self.now)
        self._failing[person] = (tries, error)
        decision = decide(error, tries, self._situation(person, tries, 1), self._random.random())
        match decision:
            case Wait():
                self._lanes.again(taken, decision.until)
                return
            case Hold():
                self.held[person] = [*taken.items, *self._lanes.drop(person)]
            case Die():
                self.dead.append(decision.reason)
                del self._failing[person]
        self._lanes.done(person)

    def _situation(self, person: str, tries: Tries, taken: int) -> Situation:
        return Situation(
            time=self.now,
            open=self._breaker.open,
            tells=self._breaker.tells(tries.since),
            waiting=self._lanes.waiting(person) + taken,
            window=self._window,
            full=self._in_memory + taken >= self._window,
            room=True,
            patience_s=self.PATIENCE,
        )


def crowd(people: int, deliveries: int) -> list[str]:
    return [f"user:{number % people}" for number in range(deliveries)]


def bad(*people: str) -> Callable[[str, float], Exception | None]:
    return lambda person, now: Retry("http_500") if person in people else None


def down(error: Retry, since: float, until: float) -> Callable[[str, float], Exception | None]:
    return lambda person, now: error if since < now < until else None


def in_order(done: list[tuple[str, int]]) -> bool:
    numbers: dict[str, list[int]] = {}
    for person, number in done:
        numbers.setdefault(person, []).append(number)
    return all(of_one == sorted(of_one) for of_one in numbers.values())


def test_one_person_failing_among_a_thousand_delays_nobody():
    healthy = crowd(1_000, 5_000)
    undisturbed = Story(healthy, bad()).run(100)
    mixed = [person for one in healthy for person in (one, "user:bad")]
    story = Story(mixed, bad("user:bad")).run(100)
    assert len(story.done) == 5_000
    assert in_order(story.done)
    assert story.now < 1.1 * undisturbed.now
    assert not story.opened
    numbers = [number for _, number in story.held["user:bad"]]
    assert numbers == list(range(1, 10_000, 2))


def test_one_person_with_nobody_beside_waits_in_memory():
    story = Story(["user:1"] * 100, down(Retry("http_500"), 0, 600)).run(1_000)
    assert not story.held
    assert not story.opened
    assert len(story.asked) < 150
    assert 600 < story.last_done["user:1"] < 600 + LONGEST_S + 10


def test_a_window_full_of_one_person_is_emptied_so_that_others_are_seen():
    story = Story(["user:bad"] * 3_000 + crowd(50, 100), bad("user:bad")).run(100)
    assert len(story.done) == 100
    assert story.now < 1
    assert [number for _, number in story.held["user:bad"]] == list(range(3_000))


@pytest.mark.parametrize("start", [0.0, 0.2])
@pytest.mark.parametrize(
    "error", [Retry("unreachable", outage=True), Retry("http_500"), Retry("http_401", outage=True)]
)
def test_an_outage_holds_nobody_and_is_over_soon_after_it_ends(start, error):
    story = Story(crowd(500, 1_000), down(error, start, 3_600)).run(4_000)
    assert len(story.opened) == 1
    assert not story.held
    assert len([time for time in story.asked if start < time < 3_600]) < 64 + 100 + 3_600 / 30 + 10
    assert len(story.done) == 1_000
    assert in_order(story.done)
    assert story.now < 3_600 + 30 + LONGEST_S + 5


def test_a_rate_limit_is_waited_out_and_nobody_asks_meanwhile():
    def answer(person: str, now: float) -> Exception | None:
        return Retry("http_429", after=300 - now) if 0.1 < now < 300 else None

    story = Story(crowd(500, 1_000), answer).run(1_000)
    assert not [time for time in story.asked if 0.2 < time < 300]
    assert not story.held
    assert len(story.done) == 1_000


@pytest.mark.parametrize("each", [2, 4, 10])
def test_where_one_in_so_many_fails_the_others_all_come_through(each):
    failing = [f"user:{number}" for number in range(0, 400, each)]
    story = Story(crowd(400, 4_000), bad(*failing), window=500).run(1_000)
    assert len(story.done) == 4_000 - 4_000 / each
    assert set(story.held) == set(failing)
    assert all(len(items) == 10 and items == sorted(items) for items in story.held.values())
    assert story.now < 15


def test_a_destination_that_fails_every_second_time_is_got_through():
    chance = random.Random(11)
    story = Story(crowd(200, 2_000), lambda person, now: Retry("http_500") if chance.random() < 0.5 else None).run(600)
    assert len(story.done) + sum(map(len, story.held.values())) == 2_000
    assert in_order(story.done)


def test_a_few_people_alone_are_never_enough_to_call_it_an_outage():
    story = Story(crowd(7, 70), down(Retry("http_500"), 0, 3_600)).run(4_000)
    assert not story.opened
    assert not story.held
    assert len(story.done) == 70


def test_a_bug_dies_after_three_tries_and_says_nothing_of_the_destination():
    story = Story(crowd(100, 300), lambda person, now: KeyError("x")).run(100)
    assert story.dead == ["bug:KeyError"] * 300
    assert len(story.asked) == 900
    assert not story.opened
