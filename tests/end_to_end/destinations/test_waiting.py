"""An opt-out or a deletion that is in the store while a send waits, wherever it waits: nothing is given any more, and
what takes away is sent."""

import asyncio
import json

import pytest

from tests.brokers.fixtures import PARTS, parts_for
from tests.end_to_end.destinations.waiting import BACK, GONE, HEALTHY, LATER, OUT, PARTITIONS, PLACES, Waited, waited
from tests.mailing_list import Seen

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=PARTS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Waited:
    with parts_for(request, request.param, PARTITIONS) as parts:
        return asyncio.run(waited(tmp_path_factory.mktemp("site"), parts))


def gives(seen: Seen) -> bool:
    """Does the request give somebody something?"""
    match [seen.method, *seen.parts]:
        case ["PUT", "people", _, "consents", _]:
            return bool(seen.json["value"])
        case ["DELETE", *_]:
            return False
    return True


def test_what_waits_waited_in_the_places_that_are_meant(run: Waited) -> None:
    assert run.held == {
        *(("audiences.held", f"user:{user}") for user in (OUT, GONE)),
        *(("forward.held", user) for user in (OUT, GONE)),
    }
    for place in ("memory", "held"):
        for user in (OUT, GONE):
            assert run.lists[place].asked("PUT", user), "its outcome is unclear"
    assert not run.lists["rate"].asked("PUT", GONE)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("user", [OUT, GONE])
def test_nothing_is_given_once_the_opt_out_or_the_deletion_is_in_the_store(run: Waited, place: str, user: str) -> None:
    assert [seen for seen in run.after(place, user) if gives(seen)] == []
    assert user not in json.dumps(run.events[place].events)


@pytest.mark.parametrize("place", PLACES)
def test_the_opt_out_itself_is_sent_and_whoever_opted_out_is_on_no_list(run: Waited, place: str) -> None:
    assert run.lists[place].consents[OUT] == {"email": False}
    assert not run.lists[place].has("vip", OUT)


@pytest.mark.parametrize("place", PLACES)
def test_the_deletion_itself_is_sent_also_where_nothing_was_ever_told(run: Waited, place: str) -> None:
    assert [seen.path for seen in run.after(place, GONE)][-1] == f"/people/{GONE}"
    assert not run.lists[place].has("vip", GONE)


@pytest.mark.parametrize("place", PLACES)
def test_a_membership_that_was_refused_is_sent_once_consent_is_given(run: Waited, place: str) -> None:
    there = run.lists[place]
    assert there.has("vip", BACK)
    [put] = [seen for seen in there.asked("PUT", BACK) if "lists" in seen.parts]
    refused = next(seen for seen in there.asked("PUT", BACK) if "consents" in seen.parts and not seen.json["value"])
    assert refused.at < put.at, "not before it was given"


@pytest.mark.parametrize("place", PLACES)
def test_everybody_else_gets_all_of_it(run: Waited, place: str) -> None:
    assert {one for one in run.lists[place].lists["vip"] if not one.startswith(LATER)} == {*HEALTHY, BACK}
    told = sorted(event["userId"] for event in run.events[place].events)
    assert [one for one in told if not one.startswith(LATER)] == HEALTHY


def test_what_was_refused_is_named(run: Waited) -> None:
    for place, left in (("memory", ""), ("rate", ""), ("held", "left:")):
        fates = run.fates[f"forward.{place}"]
        deleted = fates.get(f"{left}skipped:deleted", 0) + fates.get("left:erased", 0)  # whichever came first
        assert (fates[f"{left}skipped:opted_out"], deleted) == (1, 1)
    assert run.wrong_fates == []
