"""stream try"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import NoReturn

import click
import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from stream.batch import Surroundings
from stream.building import Built, build
from stream.cli.frame import Frame, json_option
from stream.cli.since import since_option, until_option
from stream.cli.state import kept, remembered, who
from stream.cli.text import columns, safe, when
from stream.http import Shown
from stream.processor import Projection, Reactor, Sync
from stream.telemetry import Metrics
from stream.trial import NOTHING, SENDS, Span, Trial, Tried
from stream.turns import Turns

_SHOWN = 20  # deliveries or people of whom it is shown what would be sent
_BODY = 500  # characters of a body


class Line(Struct, frozen=True, omit_defaults=True):
    """What would be done about one delivery; or by a sync about one person, whose change it is. Without `requests`,
    nothing would be sent. `sent_before`: how many of the requests belong to sends that were made before, and are not
    made again."""

    at: str
    time: float
    subject: str
    outcome: str
    requests: list[Shown] = []
    sent_before: int = 0
    refused: dict[str, str] = {}
    trace: str = ""


class Summary(Struct):
    """How all of it would end, and how many requests it would be. `time`: up to when it is known what people allow."""

    time: float
    tried: int = 0
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    requests: int = 0
    sent_before: int = 0

    def add(self, one: Tried) -> None:
        """One more."""
        self.tried += 1
        self.outcomes[one.outcome] += 1
        self.refused.update(one.refused.values())
        self.requests += len(one.sends)
        self.sent_before += sum(sent.before for sent in one.sends)


@click.command("try", epilog='Example: stream try forward.billing --since "2h ago" --limit 100')
@click.argument("processor")
@since_option("From then on:", required=True)
@until_option("Before then:")
@click.option("--limit", type=click.IntRange(1), help="At most so many deliveries; of a sync, so many people.")
@json_option
@click.pass_obj
def attempt(frame: Frame, processor: str, since: float, until: float | None, limit: int | None, as_json: bool) -> None:
    """Show what a reactor would do about what the log took since then, or a sync about the people who changed since.

    Nothing is sent and nothing is remembered: what would go out is shown, with secrets as ***, and answered 200 with
    {}; what only reads (GET, HEAD) is asked. May it be sent? That is answered by what is known of people now. What was
    sent before is said to be so. With --json: a line for each delivery or person about whom there is something
    to say, then one with the sums. Leaves a line of audit."""
    built = build(frame.config)
    one = next((one for one in built.processors if one.name == processor), None)
    if one is None or isinstance(one, Projection):
        _refuse(built, processor, one)
    asyncio.run(_try(frame, built, one, (Span(since, until), limit, as_json)))


def _refuse(built: Built, name: str, one: Projection | None) -> NoReturn:
    if one is not None:
        raise click.UsageError(f"{name} remembers, and acts on nobody: `stream person ID` shows what it remembers")
    there = ", ".join([*(one.name for one in built.syncs), *(one.name for one in built.reactors)])
    raise click.UsageError(f"there is no sync or reactor {name}; there are: {there or 'none'}")


async def _try(frame: Frame, built: Built, one: Sync | Reactor, how: tuple[Span, int | None, bool]) -> None:
    span, limit, as_json = how
    async with _trial(frame, built, one.name) as trial:
        summary, eye = Summary(trial.time), _Eye()
        tries = trial.sync(one, span) if isinstance(one, Sync) else trial.reactor(one, span)
        async with aclosing(tries) as every, _progress(as_json) as seen:
            async for tried in every:
                summary.add(tried)
                (_echo if as_json else eye.add)(tried)
                seen()
                if summary.tried == limit:
                    break
    if as_json:
        click.echo(msgspec.json.encode({"summary": summary}))
        return
    for line in (*eye.lines, *_sums(summary, eye.more, "people" if isinstance(one, Sync) else "deliveries")):
        click.echo(line)


class _Eye:
    """What is shown of the first that would send; and of how many more it is not."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.more = 0
        self._room = _SHOWN

    def add(self, tried: Tried) -> None:
        """One more, if there is anything to show of it."""
        if not tried.sends and not tried.trace:
            return
        if not self._room:
            self.more += 1
            return
        self._room -= 1
        self.lines += _told(tried)


@asynccontextmanager
async def _progress(as_json: bool) -> AsyncIterator[Callable[[], None]]:
    """Call it for each one that was tried."""
    console = Console(stderr=True)
    off = not console.is_terminal or (as_json and sys.stdout.isatty())  # the lines are progress enough
    parts = SpinnerColumn(), TextColumn("{task.completed:,.0f} tried"), TimeElapsedColumn()
    with Progress(*parts, console=console, transient=True, disable=off, redirect_stdout=False) as bar:
        task = bar.add_task("", total=None)
        yield lambda: bar.advance(task)


def _echo(tried: Tried) -> None:
    if tried.outcome != NOTHING or tried.refused:
        click.echo(msgspec.json.encode(_line(tried)))


@asynccontextmanager
async def _trial(frame: Frame, built: Built, name: str) -> AsyncIterator[Trial]:
    async with kept(frame) as log, remembered(frame) as store:
        # It is about whoever is in that history: no hash stands for them.
        await store.requests.note(who(), f"try {name}", "", time.time())
        around = Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), time.time)
        async with Trial.open(built, frame.config, around) as trial:
            yield trial


def _line(one: Tried) -> Line:
    return Line(
        at=_place(one),
        time=one.delivery.time,
        subject=one.subject,
        outcome=one.outcome,
        requests=[sent.request for sent in one.sends],
        sent_before=sum(sent.before for sent in one.sends),
        refused=one.refused,
        trace=one.trace,
    )


def _place(one: Tried) -> str:
    partition = one.delivery.partition
    return f"{partition.topic}/{partition.number}/{one.delivery.offset}"


def _told(one: Tried) -> Iterator[str]:
    yield f"{when(one.delivery.time)}  {_place(one)}  {safe(one.subject)}  {one.outcome}"
    for sent in one.sends:
        request = sent.request
        before = "  (sent before)" if sent.before and one.outcome == SENDS else ""
        yield f"  {safe(request.method)} {safe(request.url)}{before}"
        yield from (f"    {safe(name)}: {safe(value)}" for name, value in request.headers.items())
        if request.body:
            yield f"    {safe(request.body[:_BODY])}{' …' if len(request.body) > _BODY else ''}"
    yield from (f"  {safe(row)}" for row in one.trace.splitlines())
    yield ""


def _sums(summary: Summary, more: int, what: str) -> Iterator[str]:
    if not summary.tried:
        yield "nothing of that lies in the log"
        return
    if more:
        yield f"and so on, for {more:,} more: --json shows all"
        yield ""
    yield from columns((what.upper(), "OUTCOME"), [(n, outcome) for outcome, n in summary.outcomes.most_common()])
    if summary.refused:
        yield ""
        yield from columns(("REFUSED", "BECAUSE"), [(n, reason) for reason, n in summary.refused.most_common()])
    yield ""
    before = f", {summary.sent_before:,} of them sent before" if summary.sent_before else ""
    yield f"{summary.requests:,} requests{before}. Nothing was sent."
    yield f"As of {when(summary.time)}: up to then it is known what people allow."
