"""Whatever a destination does, and however the process is ended in the middle of it: nothing is lost, the order of each
person is kept, duplicates come only where nobody can know better, and in the end the destination is as wanted."""

import asyncio
import signal
from collections import Counter
from itertools import pairwise, product

import pytest

from tests.brokers.fixtures import PARTS, parts_for
from tests.destination import TOKEN
from tests.end_to_end.destinations.faults import (
    FAULTS,
    PEOPLE,
    REFUSED,
    RETRY_AFTER_S,
    SENT,
    WANTED,
    Finished,
    finished,
)
from tests.end_to_end.destinations.people import numbers

pytestmark = pytest.mark.slow


@pytest.fixture(
    scope="module", params=product((signal.SIGTERM, signal.SIGKILL), PARTS), ids=lambda one: f"{one[0].name}-{one[1]}"
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run with all the faults, ended so in the middle, and finished."""
    how, kind = request.param
    with parts_for(request, kind) as parts:
        return asyncio.run(finished(tmp_path_factory.mktemp("site"), parts, how))


@pytest.mark.parametrize("name", FAULTS)
def test_in_the_end_the_destination_is_as_wanted(run: Finished, name: str) -> None:
    there = run.meetings[name].lists.lists
    assert {of: members for of, members in there.items() if members} == WANTED


@pytest.mark.parametrize("name", FAULTS)
def test_in_the_end_the_store_knows_what_the_destination_holds(run: Finished, name: str) -> None:
    for user, told in run.told[name].items():
        known = {thing: value for thing, value in told.items() if (name, user) != ("refused", REFUSED)}
        assert {thing for thing, value in known.items() if value != "false"} == {
            f"list:{of}" for of, members in WANTED.items() if user in members
        }
        assert None not in known.values()


@pytest.mark.parametrize("name", FAULTS)
def test_every_event_arrives_and_nobodys_overtake_one_another(run: Finished, name: str) -> None:
    events = run.meetings[name].events
    asked = [seen.json for seen in events.asked()]
    for user in PEOPLE:
        arrived = [] if (name, user) == ("refused", REFUSED) else SENT
        assert sorted(set(numbers(events.events, user))) == arrived
        tries = numbers(asked, user)
        assert tries == sorted(tries), f"{user} was sent {tries}"


@pytest.mark.parametrize("name", FAULTS)
def test_an_event_is_repeated_only_where_its_outcome_was_unclear(run: Finished, name: str) -> None:
    meeting = run.meetings[name]
    if meeting.fault.unclear:
        assert max(Counter(event["messageId"] for event in meeting.events.events).values()) > 1, "it was met"
        return
    for user in PEOPLE:
        arrived = Counter(numbers(meeting.events.events, user))
        twice = [number for number, times in arrived.items() if times > 1]
        if run.how == signal.SIGTERM:
            assert not twice, "what was under way was finished"
        else:  # what a lane was sending, or had sent and not yet noted, when the process was killed: one at most
            assert len(twice) <= 1 and max(arrived.values(), default=1) <= 2
            assert all(number in SENT[:2] for number in twice)


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.people])
def test_whom_it_serves_is_served_while_it_fails_others(run: Finished, name: str) -> None:
    meeting = run.meetings[name]
    served = [
        seen for seen in meeting.events.asked() if seen.at < meeting.over_at and seen.json["properties"]["n"] == 4
    ]
    assert {seen.json["userId"] for seen in served} >= set(PEOPLE) - set(meeting.fault.people or ())


def test_nobody_asks_before_the_time_that_a_destination_asked_for(run: Finished) -> None:
    meeting = run.meetings["limited"]
    both = [[seen for seen in one.asked() if seen.at < meeting.over_at] for one in (meeting.lists, meeting.events)]
    assert sum(map(len, both)) >= 4
    for refused in both:
        for one, other in pairwise(refused):
            again = one.at < run.again_at <= other.at  # another process, that was told nothing yet
            assert again or other.at - one.at >= RETRY_AFTER_S - 0.01


def test_what_is_refused_for_good_is_kept_as_dead_and_named(run: Finished) -> None:
    mine = {(processor, *rest) for processor, *rest in run.held if processor == "forward.refused"}
    assert mine == {("forward.refused", f"user:{REFUSED}", "dead", "http_422")}
    others = {one for one in run.held if not one[0].endswith(".refused")}
    assert not others, "nothing else stays in held"


def test_every_delivery_has_one_fate(run: Finished) -> None:
    assert run.wrong_fates == []


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not (fault.unclear or name == "endless")])
def test_one_at_a_time_is_told_of_a_person(run: Finished, name: str) -> None:
    meeting = run.meetings[name]
    assert (meeting.lists.most_at_once_of_one, meeting.events.most_at_once_of_one) == (1, 1)


def test_nothing_that_was_said_names_anybody_or_a_secret(run: Finished) -> None:
    assert "Traceback" not in run.said
    assert TOKEN not in run.said
    assert not [user for user in PEOPLE if user in run.said]
