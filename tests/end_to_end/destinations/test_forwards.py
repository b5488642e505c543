"""Ten forwards of one source, one of them dead: the other nine are not delayed, and it gets everything in the end."""

import contextlib
import hashlib
import hmac
import json
from pathlib import Path

import pytest

from tests.brokers.parts import Parts
from tests.destination import Answer, Destination
from tests.end_to_end.destinations.people import bought, numbers, who
from tests.end_to_end.destinations.site import SECRET, Site, forward

pytestmark = pytest.mark.slow

PEOPLE = [who(number) for number in range(10)]
AMOUNT = 300


async def test_one_of_ten_forwards_is_dead_and_the_others_do_not_wait(tmp_path: Path, parts: Parts) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ten = [await stack.enter_async_context(Destination.open()) for _ in range(10)]
        dead, alive = ten[0], ten[1:]
        rule = dead.on(Answer(ends="reset", effect="never"))
        tables = {f"to{index}": forward(one.url, secret=SECRET) for index, one in enumerate(ten)}
        site = Site(tmp_path, parts, processors={"profiles": {}, "consent": {}, "deletion": {}, "forward": tables})
        async with site.running() as process:
            await site.ready()
            events = [bought(PEOPLE[number % 10], number) for number in range(AMOUNT)]
            await process.post(*events)
            for one in alive:  # while the dead one is: it is asked again and again, and takes nothing
                await one.until(lambda one=one: len(one.events) == AMOUNT, within=30)  # type: ignore[misc]
            assert not dead.events and dead.seen, "it is dead"
            dead.rules.remove(rule)
            await site.settled()
        for one in ten:
            for user in PEOPLE:
                assert numbers(one.events, user) == [n for n in range(AMOUNT) if PEOPLE[n % 10] == user]
            bodies = {json.loads(seen.body)["messageId"]: seen for seen in one.asked()}
            for event in events:
                body = bodies[event["messageId"]].body
                assert json.loads(body) == event, "the very event"
                signed = hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
                assert bodies[event["messageId"]].headers["x-signature"] == signed
        assert await site.wrong_fates() == []
