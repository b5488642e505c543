"""stream spill"""

import asyncio
from collections.abc import Iterator, Mapping

import click
from msgspec import Struct

from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import remembered
from stream.cli.text import columns, safe, when


class Line(Struct, frozen=True):
    """One receiver with events that are not in Kafka yet; `since`: when the oldest of them was taken."""

    receiver: str
    since: float


@click.group()
def spill() -> None:
    """Events that receivers took while Kafka was away, and that are not there yet.

    While some are older than gate.max_lag_s, nobody is given anything."""


@spill.command("list", epilog="Example: stream spill list")
@json_option
@click.pass_obj
def list_spills(frame: Frame, as_json: bool) -> None:
    """List the receivers that have such events, running or not, as the store was told."""
    told = asyncio.run(_all(frame))
    found = [Line(receiver, told[receiver]) for receiver in sorted(told, key=lambda receiver: told[receiver])]
    answer(as_json, found, _lines(found))


@spill.command(epilog="Example: stream spill forget 1f3a9c2e")
@click.argument("receiver")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def forget(frame: Frame, receiver: str, yes: bool, as_json: bool) -> None:
    """Give up on the events of a receiver whose disk is lost: nobody waits for them any more.

    RECEIVER: the name, or how it begins. If the disk comes back, a receiver that runs on it moves them to Kafka all the
    same."""
    names = [name for name in asyncio.run(_all(frame)) if name.startswith(receiver)]
    if len(names) != 1:
        raise click.ClickException(f"{len(names)} receivers have that name; `stream spill list` shows which there are")
    if not yes:
        click.confirm("What it took and is not in Kafka is lost, opt-outs too. Go on?", abort=True, err=True)
    asyncio.run(_forget(frame, names[0]))
    answer(as_json, {"receiver": names[0]}, [f"{names[0]}: forgotten"])


async def _all(frame: Frame) -> Mapping[str, float]:
    async with remembered(frame) as store:
        return await store.spilled.all()


async def _forget(frame: Frame, receiver: str) -> None:
    async with remembered(frame) as store:
        await store.spilled.forget(receiver)


def _lines(found: list[Line]) -> Iterator[str]:
    if not found:
        yield "no events wait in a spill"
        return
    yield from columns(("RECEIVER", "SINCE"), [(safe(one.receiver), when(one.since)) for one in found])
