"""stream run"""

import asyncio
import contextlib
import signal
import sys
from threading import current_thread, main_thread
from time import monotonic

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from stream.app import App, running, tune
from stream.cli import doors
from stream.cli.frame import Frame, json_option
from stream.cli.loop import new_loop
from stream.errors import StreamError
from stream.lone import LoneReceiver
from stream.places import shown
from stream.telemetry import Metrics
from stream.worker import Worker

_LOOK_S = 0.5
_App = App | LoneReceiver


@click.command(epilog="Example: stream run receiver profiles")
@click.argument("parts", nargs=-1, metavar="[receiver|PROCESSOR]...")
@json_option
@click.pass_obj
def run(frame: Frame, parts: tuple[str, ...], as_json: bool) -> None:
    """Receive events and run the processors, until SIGTERM or Ctrl-C.

    Without names: the receiver and every configured processor. With names: only those; `audiences` is all of
    [processors.audiences], `audiences.crm` one sync of it. Normal operation is silent; on a terminal one line shows
    events per second, what is held, and which processors lag (down: the destination does not answer). With --json,
    one object says where it listens and what runs, once it does."""
    tune()
    with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_run(frame, parts, as_json))


async def _run(frame: Frame, parts: tuple[str, ...], as_json: bool) -> None:
    main = asyncio.current_task()
    assert main is not None
    if current_thread() is main_thread():  # no other may
        for end in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(end, main.cancel)
    try:
        async with running(frame.config, parts) as app, asyncio.TaskGroup() as group:
            group.create_task(app.run(lambda url: _announce(app, url) if as_json else _greet(app, frame, url)))
            if sys.stdout.isatty() and not as_json:
                group.create_task(_status(app))
    except ExceptionGroup as group_of:
        raise _one_of(group_of) or group_of from None


def _one_of(group: ExceptionGroup) -> StreamError | None:
    """What ended it, where that has a name: then it is said in one line."""
    named, others = group.split(StreamError)
    error: BaseException | None = None if others else named
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, StreamError) else None


def _announce(app: _App, url: str | None) -> None:
    config = app.config
    places = {"log": _at(config.log.url), "store": _at(config.store.url)}
    takes = doors.taken(config) if url else {}
    found = {"receiver": url, "takes": takes, "processors": app.names, **places}
    click.echo(msgspec.json.encode(found))


def _at(url: str) -> str:
    return shown(url).removeprefix("sqlite:")


def _greet(app: _App, frame: Frame, url: str | None) -> None:
    config = app.config
    names = ", ".join(app.names) or "none"
    if url is None:
        click.echo(f"Processors    {names}")
        return
    for line in doors.lines(config, url):
        click.echo(line)
    click.echo(f"Processors        {names}\nData              {_at(config.log.url)}, {_at(config.store.url)}")
    if doors.is_open(config):
        click.echo(
            "\nTry it:\n"
            f"  curl -X POST {url}/segment -d "
            """'{"type":"identify","userId":"ada","traits":{"email":"ada@example.com"}}'\n"""
            f"  {_stream(frame)} person ada\n"
        )


def _stream(frame: Frame) -> str:
    """How this very command line was called, for a command to paste."""
    program = sys.argv[0] if sys.argv[0].endswith("stream") else f"{sys.executable} -m stream"
    return program if frame.path is None else f"{program} --config {frame.path}"


async def _status(app: _App) -> None:
    received, since = _received(app.metrics), monotonic()
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while True:
            await asyncio.sleep(_LOOK_S)
            now, total = monotonic(), _received(app.metrics)
            rate = (total - received) / max(now - since, 1e-6)
            received, since = total, now
            standing, held = await _processors(app.worker) if isinstance(app, App) else ({}, 0)
            live.update(_line(rate, standing, held), refresh=True)


def _received(metrics: Metrics) -> float:
    """Events made durable since the start."""
    samples = (sample for found in metrics.received.collect() for sample in found.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def _processors(worker: Worker) -> tuple[dict[str, str], int]:
    """How each stands, as far as the log answers; and how much is held."""
    try:
        lags = {one.processor: one.behind for one in await worker.lags()}
    except StreamError:
        return {name: "unknown" for name in worker.names}, sum(worker.held.values())
    return {name: _standing(worker, name, lag) for name, lag in lags.items()}, sum(worker.held.values())


def _standing(worker: Worker, name: str, lag: int) -> str:
    runner = worker.runners.get(name)
    if name in worker.stopped:
        return "stopped"
    return f"{lag} (down)" if runner is not None and runner.status.broken is not None else str(lag)


def _line(rate: float, standing: dict[str, str], held: int) -> Text:
    behind = ", ".join(f"{name} {said}" for name, said in standing.items() if said != "0") or "none"
    return Text(f"{rate:,.0f} events/s in; held: {held}; lag: {behind}", no_wrap=True, overflow="ellipsis")
