"""stream lag"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import click
from msgspec import Struct

from stream.building import build
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import kept, remembered
from stream.cli.text import columns, safe, when
from stream.lag import measure, readers
from stream.processor import Projection
from stream.store.statuses import FRESH_S, Said, Status


class Acting(Struct, frozen=True):
    """What there is to say of a sync or reactor besides. `breaker`: "open" while its destination is taken to be down,
    since `open_since`, and somebody is tried again at `next_probe`; "unknown" where no process says. `oldest_open_s`:
    how long ago the log took the oldest delivery that was begun and has not ended. `held_lanes`: people whose
    deliveries wait in held; the first of them is tried again at `next_retry`. `said`: when the process said it last."""

    breaker: Literal["closed", "open", "unknown"]
    open_since: float | None
    next_probe: float | None
    oldest_open_s: float | None
    held_lanes: int
    next_retry: float | None
    said: float | None


class Standing(Struct, frozen=True):
    """How one processor stands. `partitions`: TOPIC/NUMBER → messages still to be read; `stopped`: why, if it is;
    `acting`: of a sync or reactor."""

    processor: str
    behind: int
    partitions: dict[str, int]
    stopped: str | None
    held: dict[str, int]
    fates: dict[str, int]
    acting: Acting | None


class Standings(Struct, frozen=True):
    """All processors, and how many deletions wait. `spilled`: receivers with events that are not in the log yet, and
    since when."""

    processors: list[Standing]
    deletions_open: int
    spilled: dict[str, float]


@click.command(epilog='Example: stream lag --json | jq ".processors[].behind"')
@click.option("--fates", is_flag=True, help="Also how deliveries ended: applied, skipped:REASON, held, left:FATE.")
@json_option
@click.pass_obj
def lag(frame: Frame, fates: bool, as_json: bool) -> None:
    """Show how far each processor is behind the log, what it holds, and whether it stopped.

    In messages, as the files say now, whether a process runs or not. The fates of a processor add up to what it has
    read. Of syncs and reactors also what the running process says: whether the destination is taken to be down (the
    breaker is open), and how old the oldest delivery is that has not ended."""
    found = asyncio.run(_standings(frame))
    answer(as_json, found, _lines(found, fates))


async def _standings(frame: Frame) -> Standings:
    processors = build(frame.config).processors
    async with kept(frame) as log, remembered(frame) as store:
        lags = await measure(log, await store.positions.all(), readers(processors))
        stops, held, fates = await store.positions.stops(), await store.held.counts(), await store.positions.fates()
        said, lanes = await store.statuses.all(), await store.lanes.counts()
        deletions, spilled = await store.deletions.every("open", "erased"), await store.spilled.all()
    now = time.time()
    acting = {
        one.name: _acting(said.get(one.name), lanes.get(one.name), now)
        for one in processors
        if not isinstance(one, Projection)
    }
    standings = [
        Standing(
            processor=one.processor,
            behind=one.behind,
            partitions={f"{p.topic}/{p.number}": amount for p, amount in sorted(one.partitions.items())},
            stopped=stops.get(one.processor),
            held=held.get(one.processor, {}),
            fates=dict(sorted(fates.get(one.processor, {}).items())),
            acting=acting.get(one.processor),
        )
        for one in lags
    ]
    return Standings(standings, len(deletions), spilled)


def _acting(said: Said | None, lanes: tuple[int, float] | None, now: float) -> Acting:
    fresh = said is not None and now - said.time <= FRESH_S
    status = said.status if said is not None and fresh else Status()
    return Acting(
        breaker="unknown" if not fresh else "closed" if status.broken is None else "open",
        open_since=status.broken,
        next_probe=status.probe,
        oldest_open_s=None if status.oldest is None else max(now - status.oldest, 0.0),
        held_lanes=lanes[0] if lanes else 0,
        next_retry=lanes[1] if lanes else None,
        said=said.time if said else None,
    )


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
        ("PROCESSOR", "DESTINATION", "OLDEST OPEN", "HELD LANES", "NEXT TRY"),
        [(one.processor, *_told(one.acting)) for one in found.processors if one.acting],
    )
    yield from _section(
        ("PROCESSOR", "HELD BECAUSE", "DELIVERIES"),
        [(one.processor, reason, n) for one in found.processors for reason, n in sorted(one.held.items())],
    )
    if fates:
        rows = [(one.processor, fate, n) for one in found.processors for fate, n in one.fates.items()]
        yield from _section(("PROCESSOR", "FATE", "DELIVERIES"), rows)
    yield from _remarks(found)


def _remarks(found: Standings) -> Iterator[str]:
    for one in found.processors:
        if one.stopped:
            yield ""
            yield f"{one.processor} stopped: {safe(one.stopped)}. After a fix: stream resume {one.processor}"
    if found.spilled:
        yield ""
        yield f"not in the log yet: what receivers took since {when(min(found.spilled.values()))} (stream spill list)"
    if found.deletions_open:
        yield ""
        yield f"deletions open: {found.deletions_open} (stream deletions)"


def _told(one: Acting) -> tuple[str, str, int, str]:
    match one.breaker:
        case "closed":
            destination = "answers"
        case "open":
            destination = f"down since {when(one.open_since)}, next probe {when(one.next_probe)}"
        case _:
            destination = "no process says" if one.said is None else f"no process has said since {when(one.said)}"
    oldest = "-" if one.oldest_open_s is None else f"{one.oldest_open_s:,.1f} s"
    return destination, oldest, one.held_lanes, when(one.next_retry)


def _section(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> Iterator[str]:
    if rows:
        yield ""
        yield from columns(head, rows)
