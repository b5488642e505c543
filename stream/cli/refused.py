"""stream refused"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import click
from msgspec import Struct
from prometheus_client import CollectorRegistry

from stream import events, headers, topics
from stream.cli.frame import Frame, answer, json_option
from stream.cli.state import note_each, remembered
from stream.cli.text import columns, safe, when
from stream.errors import ConfigError, LogError, TooLarge
from stream.log.opening import opened
from stream.log.refused_file import Kept, RefusedFile
from stream.telemetry import Metrics

_SHOWN_BYTES = 200
_SHOWN_COLUMNS = 60


class Line(Struct, frozen=True):
    """One refused message. `time`: when it was refused; `begins`: its first bytes."""

    id: int
    time: float
    topic: str
    source: str
    size: int
    begins: str


class Outcome(Struct, frozen=True):
    """What became of one of them."""

    id: int
    state: Literal["appended", "refused again", "dropped"]


@click.group()
def refused() -> None:
    """Messages that Kafka takes by no means, since they are larger than its topics allow: look, append again, or drop.

    They lie in the spill folder of the receivers of this host, with their bytes."""


@refused.command("list", epilog="Example: stream refused list --json")
@json_option
@click.pass_obj
def list_refused(frame: Frame, as_json: bool) -> None:
    """List what was refused: when, for which topic, from which source, how large it is, how it begins."""
    found = [_line(one) for one in _file(frame).all()]
    answer(as_json, found, _lines(found))


@refused.command(epilog="Example: stream refused retry --all")
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All.")
@json_option
@click.pass_obj
def retry(frame: Frame, ids: tuple[int, ...], everything: bool, as_json: bool) -> None:
    """Append messages again, with the bytes as they came: once the topic's max.message.bytes and
    kafka.max_message_bytes are larger.

    What Kafka refuses again stays, and the exit code is 1. Leaves a line of audit for each."""
    if bool(ids) == everything:
        raise click.UsageError("which ones? Either IDs (stream refused list shows them), or --all")
    outcomes = asyncio.run(_retry(frame, _named(frame, ids)))
    answer(as_json, outcomes, (f"{one.id}: {one.state}" for one in outcomes))
    if any(one.state != "appended" for one in outcomes):
        raise click.exceptions.Exit(1)


@refused.command(epilog="Example: stream refused drop 7")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@json_option
@click.pass_obj
def drop(frame: Frame, ids: tuple[int, ...], as_json: bool) -> None:
    """Let go of refused messages for good.

    Leaves a line of audit for each."""
    some = _named(frame, ids)
    asyncio.run(_note(frame, "drop", some))
    _file(frame).drop(ids)
    answer(as_json, [Outcome(one.id, "dropped") for one in some], (f"{one.id}: dropped" for one in some))


def _file(frame: Frame) -> RefusedFile:
    if not frame.config.spill.folder:
        raise ConfigError("spill.folder is not set: then nothing is kept in refused, and such events are answered 503")
    return RefusedFile(Path(frame.config.spill.folder))


def _named(frame: Frame, ids: Sequence[int]) -> list[Kept]:
    """These, or all without any. Raises ClickException where one is not there."""
    found = {one.id: one for one in _file(frame).all() if not ids or one.id in ids}
    if missing := set(ids) - found.keys():
        raise click.ClickException(f"there is no {min(missing)}; `stream refused list` shows what there is")
    return list(found.values())


async def _retry(frame: Frame, some: Sequence[Kept]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    if not some:
        return outcomes
    await _note(frame, "retry", some)
    async with opened(frame.config, time.time, Metrics(CollectorRegistry()), receives=False) as log:
        for one in some:
            try:
                await log.append([one.message])
            except TooLarge:
                outcomes.append(Outcome(one.id, "refused again"))
            except LogError as error:
                raise click.ClickException(f"{one.id} and what comes after it are as they were: {error}") from error
            else:
                _file(frame).drop([one.id])
                outcomes.append(Outcome(one.id, "appended"))
    return outcomes


async def _note(frame: Frame, what: str, some: Sequence[Kept]) -> None:
    """Those of segment.invalid are about nobody that is known."""
    events_of = [(one.id, events.decode(one.message)) for one in some if one.message.topic != topics.INVALID]
    async with remembered(frame) as store:
        await note_each(store, [(f"refused {what} {id}", event.subject) for id, event in events_of])


def _line(one: Kept) -> Line:
    value = one.message.value or b""
    return Line(
        id=one.id,
        time=one.time,
        topic=one.message.topic,
        source=headers.read(one.message.headers).source,
        size=len(value),
        begins=value[:_SHOWN_BYTES].decode("utf-8", "backslashreplace"),
    )


def _lines(found: Sequence[Line]) -> Iterator[str]:
    if not found:
        yield "nothing was refused"
        return
    rows = [
        (one.id, when(one.time), one.topic, one.source, one.size, safe(one.begins)[:_SHOWN_COLUMNS]) for one in found
    ]
    yield from columns(("ID", "REFUSED", "TOPIC", "SOURCE", "BYTES", "BEGINS"), rows)
