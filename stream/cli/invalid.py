"""stream invalid"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator

import click
from msgspec import Struct

from stream import headers, topics
from stream.cli.asking import Answer, Want, ask, report, wait_option
from stream.cli.frame import Frame, answer, json_option
from stream.cli.since import since_option
from stream.cli.state import kept, remembered
from stream.cli.text import columns, safe, when
from stream.message import Delivery

_SHOWN_BYTES = 200
_SHOWN_COLUMNS = 60
_PLACE = re.compile(r"(\d+)/(\d+)")


class Line(Struct, frozen=True):
    """One message of segment.invalid. `time`: when the log took it; `begins`: its first bytes."""

    partition: int
    offset: int
    time: float
    reason: str
    source: str
    size: int
    begins: str
    retried: bool


class Which(Struct, frozen=True):
    """Which messages of segment.invalid are meant: places as (partition, offset), or all that the others say."""

    places: frozenset[tuple[int, int]] = frozenset()
    reason: str | None = None
    since: float = 0.0
    retried: bool = False  # those too that were appended again


@click.group()
def invalid() -> None:
    """What was received and could not be understood: look, and route it again after a fix.

    `stream tail segment.invalid` shows the whole bytes."""


@invalid.command("list", epilog='Example: stream invalid list --reason unknown_type --since "2h ago"')
@click.option("--reason", help="Only with this reason.")
@since_option("Taken since then:")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the newest.")
@click.option("--all", "retried", is_flag=True, help="Those too that were routed again.")
@json_option
@click.pass_obj
def list_invalid(
    frame: Frame, reason: str | None, since: float | None, limit: int, retried: bool, as_json: bool
) -> None:
    """List what could not be understood: where it lies, when it came, why, from which source, how it begins."""
    found, total = asyncio.run(_list(frame, Which(reason=reason, since=since or 0.0, retried=retried), limit))
    answer(as_json, found, _lines(found, total))


@invalid.command(epilog="Example: stream invalid retry 2/17")
@click.argument("places", metavar="[PARTITION/OFFSET]...", nargs=-1)
@click.option("--reason", help="All with this reason.")
@since_option("All taken since then:")
@click.option("--all", "everything", is_flag=True, help="All.")
@wait_option(10.0)
@json_option
@click.pass_obj
def retry(
    frame: Frame,
    places: tuple[str, ...],
    reason: str | None,
    since: float | None,
    everything: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Route messages again, after a fix, as if they had come with what is known now.

    Name them by their place in `stream invalid list`, or all with a reason, or since a time. What was routed once is
    not routed again. The running process carries it out; what is still invalid stays, and the exit code is 1."""
    filtered = everything or reason is not None or since is not None
    if bool(places) == filtered:
        raise click.UsageError("which ones? Either PARTITION/OFFSET (stream invalid list), or --reason, --since, --all")
    which = Which(frozenset(_place(place) for place in places), reason, since or 0.0)
    report(as_json, asyncio.run(_retry(frame, which, wait)))


async def _list(frame: Frame, which: Which, limit: int) -> tuple[list[Line], int]:
    async with remembered(frame) as store:
        retried = await store.requests.retried()
    newest: deque[Delivery] = deque(maxlen=limit)
    total = 0
    async for delivery in _matching(frame, which, retried):
        newest.append(delivery)
        total += 1
    return [_line(delivery, retried) for delivery in newest], total


async def _retry(frame: Frame, which: Which, wait: float) -> list[Answer]:
    async with remembered(frame) as store:
        retried = await store.requests.retried()
        if again := sorted(which.places & retried):
            raise click.ClickException(f"{again[0][0]}/{again[0][1]} was routed again before: nothing was asked for")
        found = [(d.partition.number, d.offset, d.time) async for d in _matching(frame, which, retried)]
        if lacking := sorted(which.places - {(part, offset) for part, offset, _ in found}):
            raise click.ClickException(f"there is no {lacking[0][0]}/{lacking[0][1]}: nothing was asked for")
        if not found:
            raise click.ClickException("there is nothing like that; `stream invalid list` shows what there is")
        wants = [Want(f"{p}/{offset}", {"part": p, "offset": offset, "time": time}) for p, offset, time in found]
        return await ask(store, "invalid.retry", wants, wait)


async def _matching(frame: Frame, which: Which, retried: set[tuple[int, int]]) -> AsyncIterator[Delivery]:
    async with kept(frame) as log:
        async for delivery in log.read(topics.INVALID, which.since):
            place = (delivery.partition.number, delivery.offset)
            if which.places and place not in which.places:
                continue
            if which.reason is not None and headers.read(delivery.message.headers).reason != which.reason:
                continue
            if which.retried or place not in retried:
                yield delivery


def _line(delivery: Delivery, retried: set[tuple[int, int]]) -> Line:
    origin, value = headers.read(delivery.message.headers), delivery.message.value or b""
    return Line(
        partition=delivery.partition.number,
        offset=delivery.offset,
        time=delivery.time,
        reason=origin.reason,
        source=origin.source,
        size=len(value),
        begins=value[:_SHOWN_BYTES].decode("utf-8", "backslashreplace"),
        retried=(delivery.partition.number, delivery.offset) in retried,
    )


def _lines(found: list[Line], total: int) -> Iterator[str]:
    if not found:
        yield "there is nothing that could not be understood"
        return
    yield from columns(
        ("WHERE", "TAKEN", "REASON", "SOURCE", "BYTES", "BEGINS", ""),
        [
            (
                *(f"{one.partition}/{one.offset}", when(one.time), one.reason, one.source, one.size),
                *(safe(one.begins)[:_SHOWN_COLUMNS], "retried" if one.retried else ""),
            )
            for one in found
        ],
    )
    if total > len(found):
        yield f"{total - len(found):,} older ones are not shown: --limit, --since"


def _place(text: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise click.UsageError(f"{text!r} is not of the form PARTITION/OFFSET, like 2/17")
    return int(found[1]), int(found[2])
