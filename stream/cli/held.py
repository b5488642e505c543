"""stream held: look. What changes something is in mend.py."""

import asyncio
from collections.abc import Iterator

import click
from msgspec import Struct

from stream.cli import mend, message
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import note, remembered
from stream.cli.text import columns, safe, when
from stream.store import Held

_PAGE = 50


class Line(Struct, frozen=True):
    """One held delivery, without anything of the person. `since`: when it came to held."""

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


@held.command("list", epilog="Example: stream held list --processor profiles --reason bug:KeyError")
@click.option("--processor", help="Only of this processor.")
@click.option("--reason", help="Only with this reason.")
@click.option("--limit", type=click.IntRange(1), default=_PAGE, show_default=True, help="At most so many.")
@click.option("--after", type=int, default=0, metavar="ID", help="Only those after this one: the next page.")
@json_option
@click.pass_obj
def list_held(frame: Frame, processor: str | None, reason: str | None, limit: int, after: int, as_json: bool) -> None:
    """List what is held, oldest first."""
    found = asyncio.run(_page(frame, (processor, reason), limit, after))
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


async def _page(frame: Frame, which: tuple[str | None, str | None], limit: int, after: int) -> list[Line]:
    async with remembered(frame) as store:
        # One more than is shown: so it is known whether there are more.
        return [_line(one) for one in await store.held.page(*which, limit + 1, after)]


async def _show(frame: Frame, number: int) -> tuple[Whole, Held]:
    async with remembered(frame) as store:
        one = await mend.found(store, number)
        await note(store, f"held show {number}", [one.subject])
    edited, _ = message.text_of(one.edited)
    return Whole(_line(one), one.subject, one.time, message.show(one.delivery), edited, one.trace), one


def _line(one: Held) -> Line:
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
    )


def _lines(found: list[Line], more: bool) -> Iterator[str]:
    if not found:
        yield "nothing is held"
        return
    yield from columns(
        ("ID", "PROCESSOR", "REASON", "WHERE", "SINCE", "ATTEMPTS", ""),
        [
            (
                *(one.id, one.processor, one.reason, f"{one.topic}/{one.partition}/{one.offset}", when(one.since)),
                *(one.attempts, "edited" if one.edited else ""),
            )
            for one in found
        ],
    )
    if more:
        yield f"There are more: --after {found[-1].id}"


def _whole(found: Whole, one: Held) -> Iterator[str]:
    about = found.held
    yield f"held       {about.id}, {about.state}, since {when(about.since)}, attempts: {about.attempts}"
    yield f"processor  {about.processor}"
    yield f"reason     {safe(about.reason)}"
    yield f"where      {about.topic}/{about.partition}/{about.offset}, taken {when(one.delivery.time)}"
    yield f"subject    {safe(found.subject)}"
    yield f"event of   {when(found.time)}"
    yield f"headers    {message.told(one.delivery)}"
    yield f"value      {safe(one.delivery.message.value)}"
    if one.edited is not None:
        yield f"edited     {safe(one.edited)}"
    yield "trace"
    yield from (f"  {safe(row)}" for row in found.trace.splitlines())
