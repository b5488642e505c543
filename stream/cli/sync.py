"""stream sync"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from stream.building import Built, build
from stream.cli.asking import LOOK_S, Want, ask, report, wait_option
from stream.cli.frame import Frame, answer, json_option
from stream.cli.outlook import Amount, Outlook, Would
from stream.cli.state import named, note, remembered, who
from stream.cli.text import columns, safe, when
from stream.processor import Sync
from stream.store import Store
from stream.store.walks import Walk


@click.command(epilog="Example: stream sync audiences.crm --dry-run")
@click.argument("processor")
@click.option("--dry-run", is_flag=True, help="Show what would be sent. Nothing is; no running process is needed.")
@click.option("--person", metavar="ID", help="Look at one person only: ada, user:ada, anon:9.")
@click.option("--assert", "everything", is_flag=True, help="Send all that is wanted, also what is known to be so.")
@wait_option(10.0)
@json_option
@click.pass_obj
def sync(
    frame: Frame, processor: str, dry_run: bool, person: str | None, everything: bool, wait: float, as_json: bool
) -> None:
    """Have a sync look at everybody, and send what differs from what its destination was told.

    The running process carries it out, behind live traffic, and goes on with it after a restart; this command shows how
    far it is, and ends once nothing moves for --wait seconds. With --assert for a destination that may hold something
    else than it was told. A dry run counts what would be given and withdrawn, and what is refused. Leaves a line of
    audit."""
    chosen = _chosen(build(frame.config), processor)
    subject = None if person is None else named(person, None)
    if dry_run and subject is not None:
        asyncio.run(_would(frame, chosen, subject, everything, as_json))
    elif dry_run:
        asyncio.run(_count(frame, chosen, everything, as_json))
    elif subject is not None:
        asyncio.run(_look(frame, chosen.name, subject, everything, (wait, as_json)))
    else:
        asyncio.run(_walk(frame, chosen.name, everything, wait, as_json))


def _chosen(built: Built, name: str) -> Sync:
    found = next((one for one in built.syncs if one.name == name), None)
    if found is None:
        _refuse(built, name)
    return found


def _refuse(built: Built, name: str) -> NoReturn:
    there = ", ".join(one.name for one in built.syncs)
    raise click.UsageError(f"there is no sync {name}; there are: {there or 'none'}")


async def _walk(frame: Frame, name: str, everything: bool, wait: float, as_json: bool) -> None:
    async with remembered(frame) as store:
        await store.requests.note(who(), f"sync {name}", "", time.time())
        (asked,) = await ask(store, "sync", [Want(name, {"processor": name, "everything": everything})], wait)
        if asked.state != "done" or asked.result is None:
            report(as_json, [asked])
            return
        walk = await _watched(store, int(asked.result.removeprefix("walk ")), wait)
    answer(as_json, walk, _told(walk))
    if walk.state != "done" or walk.failed:
        raise click.exceptions.Exit(1)


async def _watched(store: Store, number: int, wait: float) -> Walk:
    """The walk, once it is done, or has not moved for so long."""
    console = Console(stderr=True)
    parts = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*parts, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("walk")
        walk, moved = None, time.monotonic()
        while True:
            now = await store.walks.get(number)
            if now is None:
                raise click.ClickException(f"walk {number} is over, and no longer remembered")
            if now != walk:
                walk, moved = now, time.monotonic()
                bar.update(task, description=f"{walk.seen:,} people, {walk.differed:,} differed")
            if walk.state == "done" or time.monotonic() - moved >= wait:
                return walk
            await asyncio.sleep(LOOK_S)


def _told(walk: Walk) -> Iterator[str]:
    seen = f"{walk.seen:,} people, {walk.differed:,} differed, {walk.failed:,} could not be made so"
    if walk.state == "done":
        yield f"walk {walk.id}: {seen}"
    else:
        yield f"walk {walk.id}: {seen} so far. It does not move now, and goes on by itself; `stream lag` may say why"


async def _look(frame: Frame, name: str, subject: str, everything: bool, how: tuple[float, bool]) -> None:
    wait, as_json = how
    async with remembered(frame) as store:
        await note(store, f"sync {name}", [subject])
        args = {"processor": name, "everything": everything, "person": subject}
        answers = await ask(store, "sync", [Want(subject, args)], wait)
    report(as_json, answers)


async def _count(frame: Frame, chosen: Sync, everything: bool, as_json: bool) -> None:
    console = Console(stderr=True)
    async with Outlook.open(frame, chosen) as outlook:
        await outlook.store.requests.note(who(), f"sync {chosen.name}: dry run", "", time.time())
        parts = SpinnerColumn(), TextColumn("{task.completed:,.0f} people"), TimeElapsedColumn()
        with Progress(*parts, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)
            amounts = await outlook.everybody(everything, lambda people: bar.advance(task, people))
        found = {"time": outlook.time, "amounts": amounts}
        answer(as_json, found, _counts(amounts, outlook.time))


def _counts(amounts: Sequence[Amount], at: float) -> Iterator[str]:
    if not amounts:
        yield "nothing would be sent: everybody is as wanted"
        return
    rows = [(one.does, one.thing, one.refused or "would be sent", f"{one.amount:,}") for one in amounts]
    yield from columns(("", "THING", "", "PEOPLE"), rows)
    yield f"as of {when(at)}: up to then it is known what people allow"


async def _would(frame: Frame, chosen: Sync, subject: str, everything: bool, as_json: bool) -> None:
    async with Outlook.open(frame, chosen) as outlook:
        await note(outlook.store, f"sync {chosen.name}: dry run", [subject])
        answer(as_json, found := await outlook.person(subject, everything), _lines(found))


def _lines(found: Sequence[Would]) -> Iterator[str]:
    if not found:
        yield "nothing would be sent: it is as wanted"
    for one in found:
        why = f": refused, {one.refused}" if one.refused else ""
        yield safe(f"{one.does} {one.thing} {one.address}{why}")
        for request in one.requests:
            yield safe(f"  {request.method} {request.url}")
            if request.body:
                yield safe(f"  {request.body}")
