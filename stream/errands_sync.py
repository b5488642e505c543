"""The errand of `stream sync`: have a sync look at one person, or at everybody."""

import asyncio
from collections.abc import Collection, Mapping

from stream.batch import Surroundings
from stream.errors import Outcome
from stream.runner import Runner
from stream.store.requests import Request
from stream.syncer import Syncing, look_of

_PATIENCE_S = 15.0  # other errands wait meanwhile


async def sync(around: Surroundings, runners: Mapping[str, Runner], stopped: Collection[str], request: Request) -> str:
    """`walk N`, once it is kept that it is to be made; of one person, how the look ended; or why it was not done."""
    args = request.args
    name, everything = args["processor"], bool(args.get("everything"))
    runner = runners.get(name)
    if runner is None or not isinstance(runner.actor, Syncing):
        return f"not done: {name} does not run here"
    if name in stopped:
        return f"not done: {name} has stopped: stream resume {name}"
    if not args.get("person"):
        return f"walk {await around.store.walks.ask(name, request.who, everything, request.asked)}"
    components = await around.store.db.reading(lambda tx: around.store.people.components(tx, [args["person"]]))
    person = components[args["person"]].key
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await runner.put(look_of(person, around.clock(), everything), False)
    except TimeoutError:
        return "not done: the destination does not answer, or others are in front; it is not tried again"
    except Outcome as outcome:
        return f"not done: {outcome.reason}"
