"""stream positions"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence

import click
from msgspec import Struct

from stream.building import build
from stream.cli.frame import Frame, answer, json_option
from stream.cli.since import moment
from stream.cli.state import kept, remembered
from stream.cli.text import columns
from stream.lag import Reader, readers
from stream.log import Log, gap
from stream.message import Partition

_NOTICED_S = 3.0  # processes look for stops every second


class Place(Struct, frozen=True):
    """Where a processor is in a partition, and which offsets the log holds. `position` None: it never ran there.
    `problem`: why it cannot go on from there."""

    processor: str
    partition: str
    position: int | None
    begins: int
    ends: int
    problem: str | None


class Move(Struct, frozen=True):
    """One position that is set."""

    partition: str
    position: int | None
    to: int


@click.group(epilog="Example: stream positions show")
def positions() -> None:
    """How far processors have read; and, where the log lost something, from where they go on."""


@positions.command(epilog="Example: stream positions show profiles")
@click.argument("processor", required=False)
@json_option
@click.pass_obj
def show(frame: Frame, processor: str | None, as_json: bool) -> None:
    """Show what each processor reads next in each partition, and what the log holds."""
    found = asyncio.run(_shown(frame, _chosen(frame, processor)))
    answer(as_json, found, _lines(found))


@positions.command("set", epilog="Example: stream positions set profiles begin --lost")
@click.argument("processor")
@click.argument("to", metavar="begin|end|TIME|OFFSET")
@click.option("--partition", "places", metavar="TOPIC/NUMBER", multiple=True, help="Only there. An offset needs one.")
@click.option("--lost", is_flag=True, help="Only where the log does not hold what is to be read next.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def set_positions(
    frame: Frame, processor: str, to: str, places: tuple[str, ...], lost: bool, yes: bool, as_json: bool
) -> None:
    """Have a processor go on from another place.

    What lies between is not read, or is read once more: counts may count it twice, and a reactor acts again on what it
    has forgotten. The processor is stopped first, wherever it runs, and stays so until `stream resume`; a member that
    does not hear of it can write nothing any more."""
    [reader] = _chosen(frame, processor)
    moves = asyncio.run(_planned(frame, reader, to, places, lost))
    if not moves:
        raise click.ClickException("there is no such position to set; see stream positions show")
    if not as_json:
        answer(False, moves, _moves(moves))
    if not yes:
        click.confirm(f"Set {len(moves)} positions of {processor}?", abort=True, err=True)
    asyncio.run(_set(frame, processor, moves))
    answer(as_json, moves, [f"Done. When all is well: stream resume {processor}"])


def _chosen(frame: Frame, processor: str | None) -> Sequence[Reader]:
    every = readers(build(frame.config).processors)
    if processor is None:
        return every
    if processor not in (names := [one.name for one in every]):
        raise click.UsageError(f"there is no processor {processor}; there are: {', '.join(names) or 'none'}")
    return [one for one in every if one.name == processor]


async def _shown(frame: Frame, chosen: Sequence[Reader]) -> list[Place]:
    found: list[Place] = []
    async with kept(frame) as log, remembered(frame) as store:
        for one in chosen:
            logs, bounds = await log.identities(one.topics), await log.bounds(one.topics)
            at = await store.positions.places(one.name)
            for partition in sorted({*bounds, *at}):
                found.append(_place(one.name, partition, at.get(partition), bounds.get(partition), logs))
    return found


def _place(
    processor: str,
    partition: Partition,
    at: tuple[int, str] | None,
    bounds: tuple[int, int] | None,
    logs: Mapping[str, str],
) -> Place:
    first, end = bounds or (0, 0)
    problem = None
    if at is not None:
        position, log = at
        if log != logs.get(partition.topic):
            problem = "of another log, or of a topic that was deleted and made again"
        else:
            problem = gap(position, (first, end))
    name = f"{partition.topic}/{partition.number}"
    return Place(processor, name, at[0] if at else None, first, end, problem)


async def _planned(frame: Frame, reader: Reader, to: str, places: Sequence[str], lost: bool) -> list[Move]:
    every = await _shown(frame, [reader])
    if unknown := set(places) - {one.partition for one in every}:
        raise click.UsageError(f"{reader.name} does not read {', '.join(sorted(unknown))}")
    chosen = [one for one in every if (not places or one.partition in places) and (one.problem or not lost)]
    async with kept(frame) as log:
        targets = await _targets(log, to, chosen)
    return [Move(one.partition, one.position, targets[one.partition]) for one in chosen]


async def _targets(log: Log, to: str, chosen: Sequence[Place]) -> dict[str, int]:
    if to in ("begin", "end"):
        return {one.partition: one.begins if to == "begin" else one.ends for one in chosen}
    if to.isdecimal():
        return {one.partition: _within(one, int(to)) for one in chosen} if len(chosen) == 1 else _one_only()
    at = moment(to, time.time())
    if at is None:
        raise click.UsageError(f"{to!r} is none of begin, end, a time (2024-05-01T10:00Z, 2h), an offset")
    found = await log.bounds({_partition(one.partition).topic for one in chosen}, at)
    return {one.partition: found[_partition(one.partition)][1] for one in chosen}


def _within(place: Place, offset: int) -> int:
    if not place.begins <= offset <= place.ends:
        raise click.UsageError(f"{place.partition} holds {place.begins} to {place.ends}")
    return offset


def _one_only() -> dict[str, int]:
    raise click.UsageError("an offset is of one partition: say which with --partition TOPIC/NUMBER")


async def _set(frame: Frame, processor: str, moves: Sequence[Move]) -> None:
    targets = {_partition(one.partition): one.to for one in moves}
    async with kept(frame) as log, remembered(frame) as store:
        logs = await log.identities({partition.topic for partition in targets})
        if processor not in await store.positions.stops():
            await store.positions.stop(processor, "its positions are being set", time.time())
            await asyncio.sleep(_NOTICED_S)
        await store.positions.place(processor, targets, logs)


def _partition(name: str) -> Partition:
    topic, _, number = name.rpartition("/")
    return Partition(topic, int(number))


def _lines(found: Sequence[Place]) -> Iterator[str]:
    yield from columns(
        ("PROCESSOR", "PARTITION", "NEXT", "LOG BEGINS", "LOG ENDS", "PROBLEM"),
        [(one.processor, one.partition, _next(one.position), one.begins, one.ends, one.problem or "") for one in found],
    )


def _moves(moves: Sequence[Move]) -> Iterator[str]:
    yield from columns(("PARTITION", "NEXT", "TO"), [(one.partition, _next(one.position), one.to) for one in moves])


def _next(position: int | None) -> str:
    return "-" if position is None else str(position)
