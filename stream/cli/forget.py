"""stream forget"""

import asyncio
import time
from collections.abc import Callable

import click
from msgspec import Struct

from stream.cli.about import Found, gather
from stream.cli.asking import LOOK_S, Answer, Want, ask, wait_option
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import named, note, remembered, space_of
from stream.cli.text import safe
from stream.core import identity
from stream.store import Store

_FIELDS = {"user": "userId", "anon": "anonymousId"}


class Forgotten(Struct, frozen=True):
    """How far a deletion came while the command waited. `state`: kept (no process took it up), not done, asked (it lies
    in the log), open, erased, or done."""

    request: int
    state: str
    deletion: str | None
    erased: int
    reason: str | None


@click.command(epilog="Example: stream forget ada --yes")
@click.argument("identifier", metavar="ID")
@click.option("--space", help="The space of the ID, where it is not the default one.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@wait_option(60.0)
@json_option
@click.pass_obj
def forget(frame: Frame, identifier: str, space: str | None, yes: bool, wait: float, as_json: bool) -> None:
    """Forget a person: everything up to now, under all ids that are known to be theirs. It cannot be undone.

    ID is a userId, or anon:ID. Forgetting an anonymous id forgets that id alone, and not the user who was seen with it:
    a device may be shared. The running process carries it out; the command waits until all of it is erased. Leaves a
    line of audit."""
    subject = named(identifier, space)
    if identity.kind(subject) not in _FIELDS:
        raise click.UsageError("only a user or an anonymous id can be forgotten: ada, or anon:9")
    if not yes:
        _confirm(subject, asyncio.run(_known(frame, subject)))
    told: Callable[[str], None] = (lambda text: None) if as_json else lambda text: click.echo(text, err=True)
    found = asyncio.run(_forget(frame, subject, wait, told))
    answer(as_json, found, [_said(found)])
    if found.state != "done":
        raise click.exceptions.Exit(1)


def _confirm(subject: str, found: Found) -> None:
    others = [one for one in found.subjects if one != subject] if identity.kind(subject) == "user" else []
    linked = f", with {', '.join(map(safe, others))}" if others else ""
    known = "" if found.person else " Nothing is known of them yet."
    click.confirm(f"{safe(subject)}{linked}.{known} Forget for good?", abort=True, err=True)


async def _known(frame: Frame, subject: str) -> Found:
    async with remembered(frame) as store:
        found, _ = await gather(store, subject)
    return found


async def _forget(frame: Frame, subject: str, wait: float, told: Callable[[str], None]) -> Forgotten:
    args = {_FIELDS[identity.kind(subject)]: identity.identifier(subject), "space": space_of(subject)}
    deadline = time.monotonic() + wait
    async with remembered(frame) as store:
        await note(store, "forget", [subject])
        [asked] = await ask(store, "forget", [Want(subject, args)], wait)
        found = _begun(asked)
        while found.state not in ("kept", "not done", "done"):
            told(found.state)
            found = await _changed(store, found, deadline)
            if time.monotonic() >= deadline:
                break
    return found


def _begun(asked: Answer) -> Forgotten:
    if asked.state == "done":
        return Forgotten(asked.request, "asked", asked.result, 0, None)
    return Forgotten(asked.request, asked.state, None, 0, asked.result)


async def _changed(store: Store, found: Forgotten, deadline: float) -> Forgotten:
    """The same, once its state is another one; or as it is at the deadline."""
    while True:
        now = next((one for one in await store.deletions.every() if one.id == found.deletion), None)
        if now is not None and now.state != found.state:
            return Forgotten(found.request, now.state, now.id, now.erased, None)
        if time.monotonic() >= deadline:
            return found
        await asyncio.sleep(LOOK_S)


def _said(found: Forgotten) -> str:
    match found.state:
        case "done":
            return f"forgotten: {found.erased} rows and held deliveries are erased. Receipt: {found.deletion}"
        case "kept":
            return f"kept as request {found.request}, not done yet: no running process took it up. `stream run` does it"
        case "not done":
            return safe(found.reason or "not done")
        case "asked":
            return (
                f"asked for as {found.deletion}, and not begun yet: the processor deletion has to read it; stream lag"
            )
        case _:
            return f"{found.state}, not done yet. What it waits for: stream deletions show {found.deletion}"
