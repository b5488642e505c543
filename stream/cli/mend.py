"""stream held retry, edit, drop"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, BinaryIO

import click
from msgspec import Struct

from stream import loose_json
from stream.cli.asking import Answer, Want, ask, report, wait_option
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import named, note, note_each, remembered
from stream.snapshot import read
from stream.store import Held, Store

_PAGE = 1_000


class Which(Struct, frozen=True):
    """Which of what is held: these numbers; or all of it, narrowed by whatever is given."""

    numbers: tuple[int, ...] = ()
    subject: str | None = None
    processor: str | None = None
    reason: str | None = None


@click.command(epilog="Example: stream held retry --processor audiences.crm --reason http_400")
@click.argument("numbers", metavar="[ID]...", type=int, nargs=-1)
@click.option("--person", metavar="ID", help="All of this person's, under all linked ids: ada, or anon:9.")
@click.option("--space", help="The space of that ID, where it is not the default one.")
@click.option("--processor", help="All that this processor holds.")
@click.option("--reason", help="All that is held for this reason.")
@click.option("--all", "every", is_flag=True, help="All that is held.")
@wait_option(10.0)
@json_option
@click.pass_obj
def retry(
    frame: Frame,
    numbers: tuple[int, ...],
    person: str | None,
    space: str | None,
    processor: str | None,
    reason: str | None,
    every: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Try held deliveries again, in the order they came; with the edited bytes, where there are any.

    Name them, or a person, a processor, a reason (together: what is all of these), or --all. The running process
    carries it out: what waits in one lane is tried in order, as far as it succeeds (otherwise: waits). What dies or
    fails again stays held, with its new reason, and the exit code is 1. Leaves a line of audit for each."""
    if bool(numbers) == bool(person or processor or reason or every):
        raise click.UsageError(
            "which ones? Either IDs (stream held list shows them), or --person, --processor, --reason or --all"
        )
    which = Which(numbers, None if person is None else named(person, space), processor, reason)
    report(as_json, asyncio.run(_retry(frame, which, wait)))


@click.command(epilog="Example: stream held edit 7 --file mended.json")
@click.argument("number", metavar="ID", type=int)
@click.option("--file", type=click.File("rb"), help="The new bytes; - for stdin. Without it, $EDITOR opens.")
@json_option
@click.pass_obj
def edit(frame: Frame, number: int, file: BinaryIO | None, as_json: bool) -> None:
    """Keep mended bytes, which a retry takes instead of the original. The original stays.

    They must be a JSON object, as every event is. Leaves a line of audit."""
    size = asyncio.run(_edit(frame, number, file))
    answer(
        as_json, {"id": number, "bytes": size}, [f"{size:,} bytes are kept. To try them: stream held retry {number}"]
    )


@click.command(epilog='Example: stream held drop 7 --reason "a test event of ours"')
@click.argument("numbers", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--reason", required=True, help="Why. It is kept in the audit.")
@wait_option(10.0)
@json_option
@click.pass_obj
def drop(frame: Frame, numbers: tuple[int, ...], reason: str, wait: float, as_json: bool) -> None:
    """Let go of held deliveries for good.

    The running process carries it out. Leaves a line of audit for each."""
    if not reason.strip():
        raise click.UsageError("--reason is empty: it says why they are dropped")
    report(as_json, asyncio.run(_drop(frame, numbers, reason, wait)))


async def found(store: Store, number: int) -> Held:
    """A held delivery. Raises ClickException if it is not held (any more)."""
    one = await store.held.get(number)
    if one is None:
        raise click.ClickException(f"{number} is not held; `stream held list` shows what is")
    return one


async def _retry(frame: Frame, which: Which, wait: float) -> list[Answer]:
    answers: list[Answer] = []
    async with remembered(frame) as store:
        async for some in _pages(store, which):
            await note_each(store, [(f"held retry {one.id}", one.subject) for one in some])
            idle = bool(answers) and answers[-1].state == "kept"
            answers += await ask(store, "held.retry", _retries(some), 0.0 if idle else wait)
    if not answers:
        raise click.ClickException("nothing is held there; `stream held list` shows what is")
    return answers


async def _drop(frame: Frame, numbers: tuple[int, ...], reason: str, wait: float) -> list[Answer]:
    async with remembered(frame) as store:
        every = [await found(store, number) for number in sorted(set(numbers))]
        await note_each(store, [(f"held drop {one.id}: {reason}", one.subject) for one in every])
        return await ask(store, "held.drop", _wants(every), wait)


async def _edit(frame: Frame, number: int, file: BinaryIO | None) -> int:
    async with remembered(frame) as store:
        one = await found(store, number)
        await note(store, f"held edit {number}", [one.subject])
        value = file.read() if file else _edited(one)
        _check(value)
        if not await store.held.edit(number, value):
            raise click.ClickException(f"{number} has left held meanwhile; nothing was kept")
    return len(value)


async def _pages(store: Store, which: Which) -> AsyncIterator[Sequence[Held]]:
    """What that is, in the order it came; a part at a time, since it may be a million."""
    if which.numbers:
        yield [await found(store, number) for number in sorted(set(which.numbers))]
    elif which.subject is not None:
        snapshot = await read(store, [which.subject], ())
        every = await store.held.of(snapshot.components[which.subject].subjects)
        if some := [one for one in every if _is(one, which)]:
            yield some
    else:
        after = 0
        while some := list(await store.held.page(which.processor, which.reason, _PAGE, after)):
            after = some[-1].id
            yield some


def _is(one: Held, which: Which) -> bool:
    return which.processor in (None, one.processor) and which.reason in (None, one.reason)


def _retries(every: Sequence[Held]) -> list[Want]:
    """Of what waits in one lane, only the last is asked for: whoever tries that tries those before it first. Asked for
    one by one, a lane whose first fails again would be tried as often as it has deliveries."""
    lanes: dict[tuple[str, str], list[int]] = {}
    for one in every:
        if one.state == "waiting":
            lanes.setdefault((one.processor, one.lane), []).append(one.id)
    wants = []
    for one in every:
        lane = lanes[one.processor, one.lane] if one.state == "waiting" else [one.id]
        if one.id == lane[-1]:
            before = f" and {len(lane) - 1} before it" if len(lane) > 1 else ""
            wants.append(Want(f"{one.id}{before}", _args(one)))
    return wants


def _wants(every: Sequence[Held]) -> list[Want]:
    return [Want(str(one.id), _args(one)) for one in every]


def _args(one: Held) -> dict[str, Any]:
    at = one.delivery.partition
    return {"id": one.id, "processor": one.processor, "topic": at.topic, "part": at.number}


def _edited(one: Held) -> bytes:
    try:
        text = (one.to_try.message.value or b"").decode()
    except UnicodeDecodeError:
        raise click.ClickException("its bytes are not UTF-8, which no editor keeps as it is: use --file") from None
    after = click.edit(text, extension=".json")
    if after is None:
        raise click.ClickException("the editor saved nothing; nothing was kept")
    return after.encode()


def _check(value: bytes) -> None:
    try:
        event = loose_json.read(value)
    except UnicodeDecodeError as error:
        raise click.ClickException(f"not kept: byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise click.ClickException(f"not kept: not JSON: {error}") from None
    except RecursionError:
        raise click.ClickException("not kept: nested too deep") from None
    if not isinstance(event, dict):
        raise click.ClickException("not kept: an event is a JSON object, { … }")
