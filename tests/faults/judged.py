"""Judged: what a settled system may not have done, whatever happened to its parts."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stream import events, topics
from stream.building import build
from stream.log import Log
from stream.log.sqlite import SqliteLog
from stream.message import Message
from stream.places import file_of
from tests.end_to_end.crash.outcome import Outcome, outcome, violations
from tests.end_to_end.crash.process import looking
from tests.faults.load import Load
from tests.faults.system import COUNTED, PARTITIONS, STEADY, System, new_site

_AT_ONCE = 500

Raw = Mapping[str, Sequence[Message]]


async def wrong(system: System, folder: Path) -> list[str]:
    """What was acknowledged and is lost, fates that do not add up, events of a person out of order in the log or at the
    destination, and what the state is instead of what a run that nobody disturbed makes of the same bytes."""
    site, load = system.site, system.load
    async with looking(site.config) as (log, store):
        found = await violations(log, store, build(site.config).projections, load.acknowledged)
        raw = await _raw(log)
        state = await outcome(log, store, load.people)
    found += _out_of_order(raw)
    found += await site.wrong_fates()
    for user in load.done:
        came = [event["properties"]["amount"] for event in system.there.events if event["userId"] == user]
        if list(dict.fromkeys(came)) != load.bought(user):
            found.append(f"{user} bought {load.bought(user)}, and the destination was told {came}")
    return found + state.differences(await _undisturbed(folder, raw, load))


async def _raw(log: Log) -> Raw:
    return {topic: [d.message async for d in log.read(topic)] for topic in topics.RAW.values()}


def _out_of_order(raw: Raw) -> list[str]:
    """Of each topic and key: repeats do not count."""
    found = []
    for topic, messages in raw.items():
        first: dict[bytes, dict[int, None]] = {}
        for message in messages:
            number = int(events.decode(message).message_id.rpartition("-")[2])
            first.setdefault(message.key, {})[number] = None
        found += [f"{key!r} has {list(one)} in {topic}" for key, one in first.items() if list(one) != sorted(one)]
    return found


async def _undisturbed(folder: Path, raw: Raw, load: Load) -> Outcome:
    site = new_site(folder, log={"partitions": PARTITIONS}, processors={name: {} for name in (*COUNTED, *STEADY)})
    file = file_of(site.config.log.url)
    file.parent.mkdir(exist_ok=True)
    async with SqliteLog.open(file, partitions=PARTITIONS, clock=time.time) as log:
        for messages in raw.values():
            for first in range(0, len(messages), _AT_ONCE):
                await log.append(messages[first : first + _AT_ONCE])
    async with site.running():
        await site.settled()
    async with looking(site.config) as (kept, store):
        return await outcome(kept, store, load.people)
