"""stream resume"""

import asyncio

import click

from stream.building import build
from stream.cli.asking import Answer, Want, ask, report, wait_option
from stream.cli.frame import Frame, json_option
from stream.cli.state import remembered


@click.command(epilog="Example: stream resume profiles")
@click.argument("processor")
@wait_option(10.0)
@json_option
@click.pass_obj
def resume(frame: Frame, processor: str, wait: float, as_json: bool) -> None:
    """Let a processor that stopped go on.

    A processor stops by itself when most of its deliveries die, or when the log lacks what it has yet to read; `stream
    lag` says why. Nothing is skipped: what died is in `stream held list`. The running process carries this out."""
    names = [one.name for one in build(frame.config).processors]
    if processor not in names:
        raise click.UsageError(f"there is no processor {processor}; there are: {', '.join(names) or 'none'}")
    report(as_json, asyncio.run(_resume(frame, processor, wait)))


async def _resume(frame: Frame, processor: str, wait: float) -> list[Answer]:
    async with remembered(frame) as store:
        return await ask(store, "resume", [Want(processor, {"processor": processor})], wait)
