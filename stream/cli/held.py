"""stream held: look. What changes something is in mend.py."""

import asyncio
from collections.abc import Iterator, Sequence

import click
from msgspec import Struct

from stream.cli import mend, message
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import note, remembered
from stream.cli.text import columns, safe, when
from stream.store import Held, Store
from stream.store.lanes import Lane

_PAGE = 50


class Tries(Struct, frozen=True):
    """How a lane is tried again: how often its first delivery failed so far, why, and when it is tried next."""

    attempts: int
    reason: str
    next: float


class Line(Struct, frozen=True):
    """One held delivery, without anything of the person. `since`: when it came to held. `state`: dead (it needs
    somebody), or waiting; then `lane` says when its turn is."""

    id: int
    processor: str
    reason: str
    topic: str
    partition: int
    offset: int
    state: str
    attempts: int
    since: float
    edited: bool
    lane: Tries | None


class LaneLine(Struct, frozen=True):
    """One lane, without anything of the person. `first`: the held delivery that is tried next, or, where none waits,
    the dead one that the lane waits for."""

    first: int | None
    processor: str
    waiting: int
    since: float
    lane: Tries


class Whole(Struct, frozen=True):
    """One held delivery with all that is kept of it. `time`: its event's. `edited`: what is tried instead, if any."""

    held: Line
    subject: str
    time: float
    message: message.Shown
    edited: str | None
    trace: str


@click.group()
def held() -> None:
    """Deliveries that a processor could not deal with: look, mend, try again, or drop.

    Each keeps its bytes, its reason and its traceback, until a retry succeeds or it is dropped."""


@held.command("list", epilog="Example: stream held list --processor audiences.crm --state dead")
@click.option("--processor", help="Only of this processor.")
@click.option("--reason", help="Only with this reason.")
@click.option("--state", type=click.Choice(["waiting", "dead"]), help="Only those that are tried again, or are not.")
@click.option("--lanes", is_flag=True, help="A line for each person instead, whose deliveries wait for one another.")
@click.option("--limit", type=click.IntRange(1), default=_PAGE, show_default=True, help="At most so many.")
@click.option("--after", type=int, metavar="ID", help="Only those after this one: the next page.")
@json_option
@click.pass_obj
def list_held(
    frame: Frame,
    processor: str | None,
    reason: str | None,
    state: str | None,
    lanes: bool,
    limit: int,
    after: int | None,
    as_json: bool,
) -> None:
    """List what is held, oldest first; with --lanes, whose turn is next comes first.

    waiting: a sync or reactor tries it again by itself, when its lane's turn is. dead: it needs you."""
    if lanes:
        if state is not None or after is not None:
            raise click.UsageError("--lanes has neither --state nor --after: lanes wait, and --limit says how many")
        standing = asyncio.run(_lanes(frame, processor, reason, limit))
        answer(as_json, standing[:limit], _lane_lines(standing[:limit], more=len(standing) > limit))
        return
    found = asyncio.run(_page(frame, (processor, reason, state), limit, after or 0))
    answer(as_json, found[:limit], _lines(found[:limit], more=len(found) > limit))


@held.command(epilog="Example: stream held show 7")
@click.argument("number", metavar="ID", type=int)
@json_option
@click.pass_obj
def show(frame: Frame, number: int, as_json: bool) -> None:
    """Show one held delivery: its bytes, its headers, why it is held, and the traceback.

    Leaves a line of audit."""
    found, one = asyncio.run(_show(frame, number))
    answer(as_json, found, _whole(found, one))


for _command in (mend.retry, mend.edit, mend.drop):
    held.add_command(_command)


async def _page(frame: Frame, which: tuple[str | None, str | None, str | None], limit: int, after: int) -> list[Line]:
    processor, reason, state = which
    async with remembered(frame) as store:
        # One more than is shown: so it is known whether there are more.
        return await _told(store, await store.held.page(processor, reason, limit + 1, after, state))


async def _lanes(frame: Frame, processor: str | None, reason: str | None, limit: int) -> list[LaneLine]:
    async with remembered(frame) as store:
        found = await store.lanes.page(processor, reason, limit + 1)
    return [LaneLine(one.first, one.processor, one.waiting, one.lane.since, _tries(one.lane)) for one in found]


async def _show(frame: Frame, number: int) -> tuple[Whole, Held]:
    async with remembered(frame) as store:
        one = await mend.found(store, number)
        await note(store, f"held show {number}", [one.subject])
        [line] = await _told(store, [one])
    edited, _ = message.text_of(one.edited)
    return Whole(line, one.subject, one.time, message.show(one.delivery), edited, one.trace), one


async def _told(store: Store, found: Sequence[Held]) -> list[Line]:
    """As lines, each with what its lane waits for."""
    waiting: dict[str, set[str]] = {}
    for one in found:
        if one.state == "waiting":
            waiting.setdefault(one.processor, set()).add(one.lane)
    lanes = {processor: await store.lanes.named(processor, names) for processor, names in waiting.items()}
    return [_line(one, lanes.get(one.processor, {}).get(one.lane)) for one in found]


def _line(one: Held, lane: Lane | None) -> Line:
    at = one.delivery.partition
    return Line(
        id=one.id,
        processor=one.processor,
        reason=one.reason,
        topic=at.topic,
        partition=at.number,
        offset=one.delivery.offset,
        state=one.state,
        attempts=one.attempts,
        since=one.since,
        edited=one.edited is not None,
        lane=None if lane is None or one.state != "waiting" else _tries(lane),
    )


def _tries(lane: Lane) -> Tries:
    return Tries(lane.attempts, lane.reason, lane.due)


def _lines(found: list[Line], more: bool) -> Iterator[str]:
    if not found:
        yield "nothing is held"
        return
    yield from columns(
        ("ID", "PROCESSOR", "REASON", "WHERE", "SINCE", "ATTEMPTS", "STATE", "NEXT TRY", ""),
        [
            (
                *(one.id, one.processor, one.reason, f"{one.topic}/{one.partition}/{one.offset}", when(one.since)),
                *(one.attempts, one.state, when(one.lane.next if one.lane else None), "edited" if one.edited else ""),
            )
            for one in found
        ],
    )
    if more:
        yield f"There are more: --after {found[-1].id}"


def _lane_lines(found: list[LaneLine], more: bool) -> Iterator[str]:
    if not found:
        yield "no lane is held"
        return
    yield from columns(
        ("FIRST", "PROCESSOR", "WAITING", "ATTEMPTS", "NEXT TRY", "REASON", "SINCE"),
        [
            (
                *("-" if one.first is None else one.first, one.processor, one.waiting, one.lane.attempts),
                *(when(one.lane.next), one.lane.reason, when(one.since)),
            )
            for one in found
        ],
    )
    if more:
        yield f"There are more: --limit {2 * len(found)}"


def _whole(found: Whole, one: Held) -> Iterator[str]:
    about = found.held
    yield f"held       {about.id}, {about.state}, since {when(about.since)}, attempts: {about.attempts}"
    yield f"processor  {about.processor}"
    yield f"reason     {safe(about.reason)}"
    if (lane := about.lane) is not None:
        yield f"lane       next try {when(lane.next)}, attempts: {lane.attempts}, {safe(lane.reason)}"
    yield f"where      {about.topic}/{about.partition}/{about.offset}, taken {when(one.delivery.time)}"
    yield f"subject    {safe(found.subject)}"
    yield f"event of   {when(found.time)}"
    yield f"headers    {message.told(one.delivery)}"
    yield f"value      {safe(one.delivery.message.value)}"
    if one.edited is not None:
        yield f"edited     {safe(one.edited)}"
    yield "trace"
    yield from (f"  {safe(row)}" for row in found.trace.splitlines())
