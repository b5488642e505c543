"""stream lag"""

import asyncio
from collections.abc import Iterator

import click
from msgspec import Struct

from stream.app import build
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import kept, remembered
from stream.cli.text import columns, safe
from stream.lag import measure


class Standing(Struct, frozen=True):
    """How one processor stands. `partitions`: TOPIC/NUMBER → messages still to be read; `stopped`: why, if it is."""

    processor: str
    behind: int
    partitions: dict[str, int]
    stopped: str | None
    held: dict[str, int]
    fates: dict[str, int]


class Standings(Struct, frozen=True):
    """All processors, and how many deletions wait."""

    processors: list[Standing]
    deletions_open: int


@click.command(epilog='Example: stream lag --json | jq ".processors[].behind"')
@click.option("--fates", is_flag=True, help="Also how deliveries ended: applied, skipped:REASON, held, left:FATE.")
@json_option
@click.pass_obj
def lag(frame: Frame, fates: bool, as_json: bool) -> None:
    """Show how far each processor is behind the log, what it holds, and whether it stopped.

    In messages, as the files say now, whether a process runs or not. The fates of a processor add up to what it has
    read."""
    found = asyncio.run(_standings(frame))
    answer(as_json, found, _lines(found, fates))


async def _standings(frame: Frame) -> Standings:
    projections = build(frame.config)
    async with kept(frame) as log, remembered(frame) as store:
        lags = await measure(log, await store.positions.all(), projections)
        stops, held, fates = await store.positions.stops(), await store.held.counts(), await store.positions.fates()
        deletions = await store.deletions.every("open", "erased")
    standings = [
        Standing(
            processor=one.processor,
            behind=one.behind,
            partitions={f"{p.topic}/{p.number}": amount for p, amount in sorted(one.partitions.items())},
            stopped=stops.get(one.processor),
            held=held.get(one.processor, {}),
            fates=dict(sorted(fates.get(one.processor, {}).items())),
        )
        for one in lags
    ]
    return Standings(standings, len(deletions))


def _lines(found: Standings, fates: bool) -> Iterator[str]:
    yield from columns(
        ("PROCESSOR", "BEHIND", "HELD", "STATE"),
        [
            (one.processor, one.behind, sum(one.held.values()), "stopped" if one.stopped else "")
            for one in found.processors
        ],
    )
    yield from _section(
        ("PROCESSOR", "PARTITION", "BEHIND"),
        [(one.processor, p, amount) for one in found.processors for p, amount in one.partitions.items() if amount],
    )
    yield from _section(
        ("PROCESSOR", "HELD BECAUSE", "DELIVERIES"),
        [(one.processor, reason, n) for one in found.processors for reason, n in sorted(one.held.items())],
    )
    if fates:
        rows = [(one.processor, fate, n) for one in found.processors for fate, n in one.fates.items()]
        yield from _section(("PROCESSOR", "FATE", "DELIVERIES"), rows)
    for one in found.processors:
        if one.stopped:
            yield ""
            yield f"{one.processor} stopped: {safe(one.stopped)}. After a fix: stream resume {one.processor}"
    if found.deletions_open:
        yield ""
        yield f"deletions open: {found.deletions_open} (stream deletions)"


def _section(head: tuple[str, ...], rows: list[tuple[str, str, int]]) -> Iterator[str]:
    if rows:
        yield ""
        yield from columns(head, rows)
