"""stream deletions"""

import asyncio
from collections.abc import Iterator

import click
from msgspec import Struct

from stream.building import build
from stream.cli.about import Request, request
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import note, remembered
from stream.cli.text import columns, safe, when
from stream.eraser import waits_for
from stream.store.deletions import Deletion


class Line(Struct, frozen=True):
    """One deletion, without whom it is about. `outstanding`: destination → how many addresses it must still delete.
    `waits_for`: what must happen before it goes on, in words."""

    id: str
    state: str
    authority: str
    asked: float
    finished: float | None
    erased: int
    outstanding: dict[str, int]
    waits_for: str


class Whole(Struct, frozen=True):
    """One deletion, and what it waits for. `ends`: what every processor must read first, TOPIC/NUMBER → offset."""

    deletion: Request
    waits_for: str
    ends: dict[str, int]


@click.group(invoke_without_command=True, epilog="Example: stream deletions")
@json_option
@click.pass_context
def deletions(context: click.Context, as_json: bool) -> None:
    """Who asked to be forgotten: without a command, all of them."""
    if context.invoked_subcommand is None:
        context.invoke(list_deletions, only_open=False, as_json=as_json)


@deletions.command("list", epilog="Example: stream deletions list --open")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not done.")
@json_option
@click.pass_obj
def list_deletions(frame: Frame, only_open: bool, as_json: bool) -> None:
    """List deletions: how far each is, and what it waits for.

    open: nothing older is remembered from now on, and what is there is erased once every processor has read what lay in
    the log by then. erased: destinations have still to delete. done: only receipts are left."""
    found = asyncio.run(_list(frame, ("open", "erased") if only_open else ()))
    answer(as_json, found, _lines(found))


@deletions.command(epilog="Example: stream deletions show operator-7-1700000000")
@click.argument("number", metavar="ID")
@json_option
@click.pass_obj
def show(frame: Frame, number: str, as_json: bool) -> None:
    """Show one deletion: until it is done whom it is about and what destinations must still delete; and the receipts.

    Leaves a line of audit."""
    found = asyncio.run(_show(frame, number))
    answer(as_json, found, _whole(found))


async def _list(frame: Frame, states: tuple[str, ...]) -> list[Line]:
    async with remembered(frame) as store:
        every, positions = await store.deletions.every(*states), await store.positions.all()
    projections = build(frame.config).projections
    return [
        Line(
            id=one.id,
            state=one.state,
            authority=one.authority,
            asked=one.asked,
            finished=one.finished,
            erased=one.erased,
            outstanding={destination: len(left) for destination, left in one.outstanding.items()},
            waits_for=_waits(one, waits_for(one.ends or {}, positions, projections)),
        )
        for one in every
    ]


async def _show(frame: Frame, number: str) -> Whole:
    async with remembered(frame) as store:
        one = next((one for one in await store.deletions.every() if one.id == number), None)
        if one is None:
            raise click.ClickException(f"there is no deletion {safe(number)}; `stream deletions` lists them")
        await note(store, f"deletions show {number}", one.subjects)
        behind = waits_for(one.ends or {}, await store.positions.all(), build(frame.config).projections)
    ends = {f"{p.topic}/{p.number}": end for p, end in sorted((one.ends or {}).items())}
    return Whole(request(one), _waits(one, behind), ends)


def _waits(one: Deletion, behind: list[str]) -> str:
    match one.state:
        case "open" if one.ends is None:
            return "the running process"
        case "open" if behind:
            return f"{', '.join(behind)} to read on"
        case "erased" if one.outstanding:
            return f"{', '.join(one.outstanding)} to delete"
        case "open" | "erased":
            return "the running process"
        case _:
            return ""


def _lines(found: list[Line]) -> Iterator[str]:
    if not found:
        yield "there are no deletions"
        return
    yield from columns(
        ("ID", "STATE", "ASKED BY", "ASKED", "DONE", "ERASED", "WAITS FOR"),
        [
            (one.id, one.state, one.authority, when(one.asked), when(one.finished), one.erased, one.waits_for)
            for one in found
        ],
    )


def _whole(found: Whole) -> Iterator[str]:
    one = found.deletion
    yield f"deletion   {safe(one.id)}"
    yield f"state      {one.state}{f', waits for {found.waits_for}' if found.waits_for else ''}"
    yield f"asked      {when(one.asked)} by {one.authority}; nothing up to {when(one.time)} is remembered"
    yield f"done       {when(one.finished)}"
    yield f"erased     {one.erased} rows and held deliveries"
    yield f"hash       {one.hash}"
    yield from (f"subject    {safe(subject)}" for subject in one.subjects)
    yield from answers(one, "")
    if one.state == "open":
        yield from (f"reads to   {place} {end}" for place, end in found.ends.items() if end)


def answers(one: Request, indent: str) -> Iterator[str]:
    """What each destination must still delete, and what it answered."""
    for destination, addresses in one.outstanding.items():
        for address in addresses:
            yield f"{indent}open       {safe(destination)} has still to delete {safe(address)}"
    for receipt in one.receipts:
        said = f"{safe(receipt.destination)} {safe(receipt.outcome)} {when(receipt.time)}"
        yield f"{indent}receipt    {said}, address {receipt.hash}"
