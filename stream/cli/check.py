"""stream check"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import Struct

from stream import config, loading
from stream.app import build
from stream.cli import doors
from stream.cli.frame import Frame, answer, json_option
from stream.receiver import listen_host


class Plan(Struct, frozen=True):
    """What `run` would run. `configuration` is None where there is no file; `takes`: what the receiver takes at
    each path; `processors`: which file each is."""

    ok: bool
    configuration: str | None
    receiver: str
    takes: dict[str, str]
    processors: dict[str, str | None]
    log: str
    store: str
    problems: list[str]


@click.command(epilog="Example: stream --config production.toml check")
@json_option
@click.pass_obj
def check(frame: Frame, as_json: bool) -> None:
    """Say what `run` would run, and whether it could.

    Reads the configuration, finds the processors, looks at files and port, and changes nothing. Exit code 2: the
    configuration is wrong. 1: a file cannot be written, or the port is taken."""
    plan = _plan(frame)
    answer(as_json, plan, _lines(plan))
    for problem in plan.problems:
        click.echo(f"Error: {problem}", err=True)
    if not plan.ok:
        raise click.exceptions.Exit(1)


def _plan(frame: Frame) -> Plan:
    settings = frame.config
    host, port = listen_host(settings), settings.receiver.port
    build(settings)  # a processor names what is wrong in its settings
    log, store = config.file_of(settings.log.url), config.file_of(settings.store.url)
    problems = [*_file_problems("log.url", log), *_file_problems("store.url", store), *_port_problems(host, port)]
    return Plan(
        ok=not problems,
        configuration=str(frame.file) if frame.file else None,
        receiver=f"http://{f'[{host}]' if ':' in host else host}:{port}",
        takes=doors.taken(settings),
        processors={name: loading.load(name, settings.folder).__file__ for name in settings.processors},
        log=str(log),
        store=str(store),
        problems=problems,
    )


def _lines(plan: Plan) -> Iterator[str]:
    yield f"configuration  {plan.configuration or 'no stream.toml: the defaults'}"
    yield f"receiver       {plan.receiver}"
    yield from (f"               {path}: {takes}" for path, takes in plan.takes.items())
    yield f"processors     {', '.join(plan.processors) or 'none'}"
    yield f"log            {plan.log}"
    yield f"store          {plan.store}"


def _file_problems(path: str, file: Path) -> Iterator[str]:
    nearest = next(place for place in (file, *file.parents) if place.exists())
    if file.is_dir():
        yield f"{path}: {file} is a folder"
    elif nearest != file and not nearest.is_dir():
        yield f"{path}: {nearest} is not a folder, so {file} cannot be made"
    elif not os.access(nearest, os.W_OK):
        yield f"{path}: {nearest} cannot be written"


def _port_problems(host: str, port: int) -> Iterator[str]:
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
    except OSError as error:
        yield f"receiver: {host}, port {port}: {error.strerror or error}"
