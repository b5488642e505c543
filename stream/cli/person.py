"""stream person"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import click

from stream.cli import export
from stream.cli.about import Confirmed, Found, gather, is_known
from stream.cli.deletions import answers
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import named, note, remembered, who
from stream.cli.text import columns, safe, shown, when
from stream.facts import SUBSCRIPTION
from stream.person import Consent, Person
from stream.store.graph import Unlinked

_UNLINKED = 1_000
_STATUS = max(map(len, (*SUBSCRIPTION, "conflict")))  # "yes" and "no" are shorter


@click.command(epilog="Example: stream person ada --export ada.json")
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--space", help="The space of the ID, where it is not the default one.")
@click.option(
    "--export",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all that is known to this file, as JSON, for an access request.",
)
@click.option("--unlinked", is_flag=True, help="Instead of a person: links that do not count, and why.")
@json_option
@click.pass_obj
def person(
    frame: Frame, identifier: str | None, space: str | None, file: Path | None, unlinked: bool, as_json: bool
) -> None:
    """Show what is known of a person, under all linked ids.

    ID is a userId, or anon:ID, user:ID, group:ID. Shows the profile, memberships, consents with the events that prove
    them, linked ids and since when, what is held, what each destination was told, deletions and their receipts. Leaves
    a line of audit. Exit code 1: nothing is known."""
    if unlinked == (identifier is not None) or (unlinked and file is not None):
        raise click.UsageError("whom? Either an ID, like ada or anon:9, or --unlinked")
    if identifier is None:
        pairs = asyncio.run(_unlinked(frame))
        answer(as_json, pairs, _unlinked_lines(pairs))
        return
    subject = named(identifier, space)
    found, written = asyncio.run(_person(frame, subject, file))
    if not is_known(found):
        raise click.ClickException(f"nothing is known of {safe(subject)}; an anonymous id is named anon:ID")
    answer(as_json, found, _lines(found))
    if written:
        click.echo(f"written to {written}, {written.stat().st_size:,} bytes", err=True)


async def _person(frame: Frame, subject: str, file: Path | None) -> tuple[Found, Path | None]:
    async with remembered(frame) as store:
        await note(store, "person --export" if file else "person", [subject])
        found, snapshot = await gather(store, subject, frame.config.connectors)
        if file is None or not is_known(found):
            return found, None
        whole = await export.everything(store, frame.config, found, snapshot)
        export.write(file, whole)
        return found, file


async def _unlinked(frame: Frame) -> list[Unlinked]:
    async with remembered(frame) as store:
        # It is about everybody: no hash stands for that.
        await store.requests.note(who(), "person --unlinked", "", time.time())
        return await store.db.reading(lambda tx: store.people.unlinked(tx, _UNLINKED))


def _unlinked_lines(pairs: list[Unlinked]) -> Iterator[str]:
    if not pairs:
        yield "every link counts"
        return
    yield from columns(
        ("SUBJECT", "SEEN WITH", "FIRST", "LAST", "WHY", "BELONGS TO"),
        [(one.subject, one.other, when(one.first), when(one.last), one.why, one.owner or "nobody") for one in pairs],
    )
    if len(pairs) == _UNLINKED:
        yield f"there may be more than these {_UNLINKED:,}"


def _lines(found: Found) -> Iterator[str]:
    yield safe(found.key)
    if found.deleted is not None:
        left = "" if found.person else ", and nothing is left"
        yield f"  deleted     {when(found.deleted)}: nothing older is remembered{left}"
    for one in found.linked:
        yield f"  linked      {safe(one.subject)} is {safe(one.owner)} since {when(one.since)}"
    if found.person is not None:
        yield from _profile(found.person)
        yield from _memberships(found.person)
        yield from _consents(found.person)
    for table, by_subject in found.rows.items():
        yield from _section(table, {safe(subject): shown(value) for subject, value in by_subject.items()})
    held = {f"held {one.id}": f"{one.processor}: {safe(one.reason)}, since {when(one.since)}" for one in found.held}
    yield from _section("held", held)
    yield from _section("confirmed", dict(map(_confirmed, found.confirmed)))
    if found.deletions:
        yield "  deletions"
    for request in found.deletions:
        yield f"    {safe(request.id)}  {request.state}, asked {when(request.asked)}"
        yield from answers(request, "      ")


def _confirmed(one: Confirmed) -> tuple[str, str]:
    said = f"{shown(one.value)}, told {when(one.told)}" if one.known else "not known: it is being told, or was unclear"
    return safe(f"{one.destination} {one.address} {one.thing}"), said


def _profile(person: Person) -> Iterator[str]:
    if person.first_seen is not None:
        yield f"  seen        {when(person.first_seen)} to {when(person.last_seen)}"
    for kind, values in person.identifiers.items():
        yield f"  {kind:<11} {', '.join(map(safe, values))}"
    if person.groups:
        yield f"  groups      {', '.join(map(safe, person.groups))}"
    yield from _section("traits", {safe(name): shown(value) for name, value in person.traits.items()})
    yield from _section("counts", {name: str(amount) for name, amount in person.counts.items()})
    yield from _section("events", {safe(name): str(amount) for name, amount in person.events.items()})
    yield from _section("context", {safe(name): shown(value) for name, value in person.context.items()})


def _memberships(person: Person) -> Iterator[str]:
    audiences = {
        safe(name): f"{'in' if one.member else 'not in'} since {when(one.time)} ({one.kind})"
        for name, one in person.audiences.items()
    }
    yield from _section("audiences", audiences)
    yield from _section("computed traits", {safe(name): shown(value) for name, value in person.computed.items()})


def _consents(person: Person) -> Iterator[str]:
    yield from _section("consents", {safe(name): _consent(one) for name, one in person.consents.items()})
    yield from _section("subscriptions", {safe(name): _consent(one) for name, one in person.subscriptions.items()})


def _consent(one: Consent) -> str:
    proofs = (f"{safe(p.event)} {safe(p.message_id)} of {safe(p.source) or '?'} at {when(p.time)}" for p in one.proofs)
    return f"{one.status:<{_STATUS}}  {'; '.join(proofs)}"


def _section(title: str, lines: dict[str, str]) -> Iterator[str]:
    if lines:
        yield f"  {title}"
        width = max(map(len, lines))
        yield from (f"    {name:<{width}}  {said}" for name, said in lines.items())
