"""The errand of `stream sync`: have a sync look at one person, or at everybody."""

import asyncio
from collections.abc import Collection, Mapping

from stream import topics
from stream.batch import Surroundings
from stream.errors import Outcome
from stream.log.partitioner import partition_of
from stream.message import Partition
from stream.runner import Runner
from stream.store.requests import Request
from stream.syncer import Syncing, look_of

_PATIENCE_S = 15.0  # other errands wait meanwhile


async def sync(
    around: Surroundings, runners: Mapping[str, Runner], stopped: Collection[str], request: Request
) -> str | None:
    """`walk N`, once it is kept that it is to be made; of one person, how the look ended; or why it was not done. None:
    it is for the member that makes walks, or that the person is told by, and that is not this one now."""
    args = request.args
    name, everything = args["processor"], bool(args.get("everything"))
    runner = runners.get(name)
    if runner is None or not isinstance(runner.actor, Syncing):
        return f"not done: {name} does not run here"
    if name in stopped:
        return f"not done: {name} has stopped: stream resume {name}"
    person = await _key(around, args["person"]) if args.get("person") else None
    if not runner.owns(await _partition(around, person)):
        return None
    if person is None:
        return f"walk {await around.store.walks.ask(name, request.who, everything, request.asked)}"
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await runner.put(look_of(person, around.clock(), everything), False)
    except TimeoutError:
        return "not done: the destination does not answer, or others are in front; it is not tried again"
    except Outcome as outcome:
        return f"not done: {outcome.reason}"


async def _key(around: Surroundings, subject: str) -> str:
    components = await around.store.db.reading(lambda tx: around.store.people.components(tx, [subject]))
    return components[subject].key


async def _partition(around: Surroundings, person: str | None) -> Partition:
    """Where changes of this person lie; without one, the first: whoever owns that one makes walks."""
    if person is None:
        return Partition(topics.PERSON_CHANGED, 0)
    amount = len(await around.log.bounds([topics.PERSON_CHANGED]))
    return Partition(topics.PERSON_CHANGED, partition_of(person.encode(), amount))
