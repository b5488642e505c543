"""stream restored"""

import asyncio
import time
from collections.abc import Iterator

import click

from stream.building import build
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import remembered, who
from stream.store.restoring import Restored
from stream.store.restoring import restored as ready


@click.command(epilog="Example: stream restored --yes")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def restored(frame: Frame, yes: bool, as_json: bool) -> None:
    """Say that the state was put back from a backup, before anything runs on it.

    What destinations were told since the backup is not known any more: all of it becomes unknown, and every sync walks
    through everybody and sends what is wanted. Reactors stay stopped: each would act again on what it acted on since.
    Decide with `stream positions set` from where each goes on, then `stream resume` it. Projections read the log again
    from where the backup was, and come to the same state as before."""
    built = build(frame.config)
    reactors, syncs = [one.name for one in built.reactors], [one.name for one in built.syncs]
    if not yes:
        click.confirm(
            "Is everything stopped that runs on this state, and was the state put back?", abort=True, err=True
        )
    found = asyncio.run(_restored(frame, reactors, syncs))
    answer(as_json, found, _lines(found))


async def _restored(frame: Frame, reactors: list[str], syncs: list[str]) -> Restored:
    async with remembered(frame) as store:
        return await ready(store.db, reactors, syncs, who(), time.time())


def _lines(found: Restored) -> Iterator[str]:
    yield f"{found.unknown:,} things that destinations were told are unknown now"
    for name in found.walks:
        yield f"{name} will walk through everybody once it runs"
    for name in found.stopped:
        yield f"{name} stays stopped: stream positions set {name} …, then stream resume {name}"
    if found.held:
        yield f"{found.held:,} deliveries of them are held, and may have been acted on since: stream held list"
    if found.requests:
        yield f"{found.requests:,} requests of commands were ended; ask again for those that still matter"
