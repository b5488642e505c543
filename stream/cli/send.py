"""stream send"""

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.progress import Progress

from stream import sender, toml
from stream.cli.frame import Frame, answer, json_option
from stream.config import Config, ReceiverConfig, SourceConfig
from stream.receiver import listen_host

SHOWN = 10


@click.command(epilog="Example: stream send examples/events.jsonl --batch 100")
@click.argument("file", type=click.File("rb"))
@click.option("--url", help="The receiver; without it, the configured one on this machine.")
@click.option(
    "--secret", help="Sign with this one; ${NAME} takes it from the environment. Otherwise the configured one."
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Events in a request.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests at once.")
@json_option
@click.pass_obj
def send(
    frame: Frame, file: BinaryIO, url: str | None, secret: str | None, batch: int, concurrency: int, as_json: bool
) -> None:
    """Post events from FILE (- for stdin) to a receiver.

    One JSON object a line, posted as Segment's destinations do: signed, where a secret is given or configured. What
    the receiver asks to repeat is repeated. Lines that are not JSON objects are not sent but named; then, and where
    the receiver refuses something, the exit code is 1."""
    url = url or _own(frame.config)
    section = _section(frame.config, url)
    target = sender.Target(
        url=url,
        secret=toml.expanded(secret, "--secret") if secret else next(iter(section.secrets), ""),
        headers=_headers(section.require_header),
        batch=batch,
        concurrency=concurrency,
    )
    tally, began = sender.Tally(), time.perf_counter()
    try:
        with _progress(file) as progress:
            asyncio.run(sender.send(file, target, tally, progress))
    finally:
        _report(as_json, tally, time.perf_counter() - began)
    if not tally.complete:
        raise click.exceptions.Exit(1)


def _own(config: Config) -> str:
    host, port = listen_host(config), config.receiver.port
    if port == 0:
        raise click.UsageError("receiver.port is 0, any free one: say with --url where the receiver listens")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # every interface: this machine's own among them
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/segment"


def _section(config: Config, url: str) -> ReceiverConfig | SourceConfig:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.BadParameter("must begin with http:// or https:// and name a host", param_hint="--url")
    return config.sources.get(parts.path.rstrip("/").rpartition("/segment/")[2], config.receiver)


def _headers(required: str) -> tuple[tuple[str, str], ...]:
    name, colon, value = required.partition(":")
    return ((name, value.strip()),) if colon else ()


@contextlib.contextmanager
def _progress(file: BinaryIO) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda read: None
        return
    about = os.fstat(file.fileno())
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("sending", total=about.st_size if stat.S_ISREG(about.st_mode) else None)
        yield lambda read: bar.advance(task, read)


def _report(as_json: bool, tally: sender.Tally, seconds: float) -> None:
    rate = tally.events / seconds
    found = {"events": tally.events, "requests": tally.requests, "repeats": tally.repeats, "bad": tally.bad}
    answer(
        as_json,
        {**found, "refused": tally.refused, "seconds": round(seconds, 3), "events_per_second": round(rate, 1)},
        [f"{tally.events:,} events in {tally.requests:,} requests, {seconds:.2f} s, {rate:,.0f} events/s"],
    )
    if as_json:
        return
    for what, lines in (("not sent", tally.bad), ("refused", tally.refused)):
        for line in lines[:SHOWN]:
            click.echo(f"{what}: {line}", err=True)
        if len(lines) > SHOWN:
            click.echo(f"{what}: {len(lines) - SHOWN:,} more; --json names all", err=True)
