"""stream held retry, edit, drop"""

import asyncio
import json
from collections.abc import Sequence
from typing import BinaryIO

import click

from stream import loose_json
from stream.cli.asking import Answer, Want, ask, report, wait_option
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import note, remembered
from stream.store import Held, Store

_PAGE = 1_000


@click.command(epilog="Example: stream held retry --processor profiles --reason bug:KeyError")
@click.argument("numbers", metavar="[ID]...", type=int, nargs=-1)
@click.option("--processor", help="All that this processor holds.")
@click.option("--reason", help="All that is held for this reason.")
@wait_option(10.0)
@json_option
@click.pass_obj
def retry(
    frame: Frame, numbers: tuple[int, ...], processor: str | None, reason: str | None, wait: float, as_json: bool
) -> None:
    """Try held deliveries again, in the order they came; with the edited bytes, where there are any.

    Name them, or a processor, or a reason. The running process carries it out. What dies again stays held, with its new
    reason, and the exit code is 1. Leaves a line of audit for each."""
    if bool(numbers) == bool(processor or reason):
        raise click.UsageError("which ones? Either IDs (stream held list shows them), or --processor or --reason")
    report(as_json, asyncio.run(_retry(frame, numbers, (processor, reason), wait)))


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


async def _retry(
    frame: Frame, numbers: tuple[int, ...], which: tuple[str | None, str | None], wait: float
) -> list[Answer]:
    async with remembered(frame) as store:
        every = [await found(store, n) for n in sorted(set(numbers))] if numbers else await _all(store, *which)
        if not every:
            raise click.ClickException("nothing is held there; `stream held list` shows what is")
        for one in every:
            await note(store, f"held retry {one.id}", [one.subject])
        return await ask(store, "held.retry", _wants(every), wait)


async def _drop(frame: Frame, numbers: tuple[int, ...], reason: str, wait: float) -> list[Answer]:
    async with remembered(frame) as store:
        every = [await found(store, number) for number in sorted(set(numbers))]
        for one in every:
            await note(store, f"held drop {one.id}: {reason}", [one.subject])
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


async def _all(store: Store, processor: str | None, reason: str | None) -> list[Held]:
    every: list[Held] = []
    while page := await store.held.page(processor, reason, _PAGE, every[-1].id if every else 0):
        every.extend(page)
    return every


def _wants(every: Sequence[Held]) -> list[Want]:
    return [Want(str(one.id), {"id": one.id}) for one in every]


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
