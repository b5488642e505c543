"""stream run"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from stream.app import App, tune
from stream.cli import doors
from stream.cli.frame import Frame, json_option
from stream.places import file_of
from stream.worker import Worker

_LOOK_S = 0.5


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
    with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(frame, parts, as_json))


async def _run(frame: Frame, parts: tuple[str, ...], as_json: bool) -> None:
    async with App.open(frame.config, parts) as app, asyncio.TaskGroup() as group:
        main = group.create_task(app.run(lambda url: _announce(app, url) if as_json else _greet(app, frame, url)))
        for end in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(end, main.cancel)
        if sys.stdout.isatty() and not as_json:
            status = group.create_task(_status(app))
            main.add_done_callback(lambda _: status.cancel())


def _announce(app: App, url: str | None) -> None:
    config = app.config
    files = {"log": str(file_of(config.log.url)), "store": str(file_of(config.store.url))}
    takes = doors.taken(config) if url else {}
    found = {"receiver": url, "takes": takes, "processors": app.worker.names, **files}
    click.echo(msgspec.json.encode(found))


def _greet(app: App, frame: Frame, url: str | None) -> None:
    config = app.config
    names = ", ".join(app.worker.names) or "none"
    if url is None:
        click.echo(f"Processors    {names}")
        return
    for line in doors.lines(config, url):
        click.echo(line)
    click.echo(
        f"Processors        {names}\n"
        f"Data              {config.log.url.removeprefix('sqlite:')}, {config.store.url.removeprefix('sqlite:')}"
    )
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


async def _status(app: App) -> None:
    received, since = app.log.appended_messages, app.around.clock()
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while True:
            await asyncio.sleep(_LOOK_S)
            now, total = app.around.clock(), app.log.appended_messages
            rate = (total - received) / max(now - since, 1e-6)
            received, since = total, now
            lags = {one.processor: one.behind for one in await app.worker.lags()}
            standing = {name: _standing(app.worker, name, lag) for name, lag in lags.items()}
            live.update(_line(rate, standing, sum(app.worker.held.values())), refresh=True)


def _standing(worker: Worker, name: str, lag: int) -> str:
    runner = worker.runners.get(name)
    if name in worker.stopped:
        return "stopped"
    return f"{lag} (down)" if runner is not None and runner.status.broken is not None else str(lag)


def _line(rate: float, standing: dict[str, str], held: int) -> Text:
    behind = ", ".join(f"{name} {said}" for name, said in standing.items() if said != "0") or "none"
    return Text(f"{rate:,.0f} events/s in; held: {held}; lag: {behind}", no_wrap=True, overflow="ellipsis")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
