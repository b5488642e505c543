"""stream check"""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import click
from msgspec import Struct

from stream import config, loading, places
from stream.building import build
from stream.cli import doors
from stream.cli.frame import Frame, answer, json_option
from stream.cli.servers import look
from stream.config import PurposeConfig
from stream.connector import Limits
from stream.processor import Projection, Reactor, Sync
from stream.receiver import listen_host


class Sends(Struct, frozen=True):
    """What a sync or reactor does: `to` whom a sync tells what is known (a reactor says it as it goes), and for which
    purposes."""

    kind: Literal["sync", "reactor"]
    to: str | None
    purposes: tuple[str, ...]


class Place(Struct, frozen=True):
    """One destination: the hosts that its settings name, and its limits."""

    hosts: tuple[str, ...]
    limits: Limits


class Plan(Struct, frozen=True):
    """What `run` would run. `configuration` is None where there is no file; `takes`: what the receiver takes at
    each path; `processors`: which file each is; `sends`: the syncs and reactors among what they build; `purposes`: what
    each needs of a person; `differences`: how Kafka's topics differ from what is configured, and what that costs."""

    ok: bool
    configuration: str | None
    receiver: str
    takes: dict[str, str]
    processors: dict[str, str | None]
    sends: dict[str, Sends]
    destinations: dict[str, Place]
    purposes: dict[str, PurposeConfig]
    log: str
    store: str
    differences: list[str]
    problems: list[str]


@click.command(epilog="Example: stream --config production.toml check")
@click.option("--migrate", is_flag=True, help="Make the tables of the state, or bring them up to date.")
@json_option
@click.pass_obj
def check(frame: Frame, migrate: bool, as_json: bool) -> None:
    """Say what `run` would run, and whether it could.

    Reads the configuration, finds processors and connectors, looks at files and port, or asks Kafka and PostgreSQL, and
    changes nothing without --migrate. Exit code 2: the configuration is wrong (a purpose that is not declared,
    something that sends without the projections that guard it). 1: a file cannot be written, the port is taken, a
    server does not answer or refuses us, a topic is missing, the state is another version's."""
    plan = _plan(frame, migrate)
    answer(as_json, plan, _lines(plan))
    for problem in plan.problems:
        click.echo(f"Error: {problem}", err=True)
    if not plan.ok:
        raise click.exceptions.Exit(1)


def _plan(frame: Frame, migrate: bool) -> Plan:
    settings = frame.config
    host, port = listen_host(settings), settings.receiver.port
    built = build(settings)  # a processor names what is wrong in its settings
    servers = asyncio.run(look(settings, migrate))
    problems = [*servers.problems, *_own_problems(settings, host)]
    return Plan(
        ok=not problems,
        configuration=str(frame.file) if frame.file else None,
        receiver=f"http://{f'[{host}]' if ':' in host else host}:{port}",
        takes=doors.taken(settings),
        processors={name: loading.load(name, settings.folder).__file__ for name in settings.processors},
        sends={one.name: _sends(one) for one in built.processors if not isinstance(one, Projection)},
        destinations={name: Place(_hosts_of(name, settings), limits) for name, limits in built.limits.items()},
        purposes=settings.purposes,
        log=servers.log,
        store=servers.store,
        differences=servers.differences,
        problems=problems,
    )


def _lines(plan: Plan) -> Iterator[str]:
    yield f"configuration  {plan.configuration or 'no stream.toml: the defaults'}"
    yield f"receiver       {plan.receiver}"
    yield from (f"               {path}: {takes}" for path, takes in plan.takes.items())
    yield f"processors     {', '.join(plan.processors) or 'none'}"
    yield from _table("syncs", [_sync_line(*one) for one in plan.sends.items() if one[1].kind == "sync"])
    yield from _table("reactors", [_reactor_line(*one) for one in plan.sends.items() if one[1].kind == "reactor"])
    yield from _table("destinations", [_place_line(*one) for one in plan.destinations.items()])
    yield from _table("purposes", [_purpose_line(*one) for one in plan.purposes.items()])
    yield f"log            {plan.log}"
    yield f"store          {plan.store}"
    yield from _table("differences", plan.differences)


def _table(title: str, rows: list[str]) -> Iterator[str]:
    for at, row in enumerate(rows):
        yield f"{'' if at else title:<15}{row}"


def _sync_line(name: str, one: Sends) -> str:
    return f"{name}: what is wanted at {one.to}, for {', '.join(one.purposes)}"


def _reactor_line(name: str, one: Sends) -> str:
    return f"{name}: once per event, for {', '.join(one.purposes) or 'no purpose that it names'}"


def _place_line(name: str, one: Place) -> str:
    limits = one.limits
    hosts = ", ".join(one.hosts) or "its own hosts"
    private = "; may be private" if limits.allow_private else ""
    return f"{name}: {hosts}; {', '.join([f'{limits.concurrency} at once', *limits.rates])}{private}"


def _purpose_line(name: str, one: PurposeConfig) -> str:
    needs = [
        f"{what} {', '.join(listed)}"
        for what, listed in (("yes to", one.categories), ("channel", one.channels))
        if listed
    ]
    return f"{name}: {'; '.join(needs) or 'needs no consent'}; where nothing was said: {one.unknown}"


def _sends(one: Sync | Reactor) -> Sends:
    if isinstance(one, Sync):
        return Sends("sync", one.connector.name, (one.purpose,))
    return Sends("reactor", None, one.purposes)


def _hosts_of(destination: str, settings: config.Config) -> tuple[str, ...]:
    """Of the URLs in its settings, and nothing else of them: the rest may be secret."""
    if destination in settings.connectors:
        return tuple(dict.fromkeys(_hosts(settings.connectors[destination])))
    table: Any = settings.processors
    for part in destination.split("."):
        table = table.get(part, {})
    return tuple(dict.fromkeys(_hosts(table)))


def _hosts(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for inner in value.values():
                yield from _hosts(inner)
        case str() if value.startswith(("http://", "https://")):
            at = urlsplit(value)
            yield at.netloc.rpartition("@")[2]
        case _:
            return


def _own_problems(settings: config.Config, host: str) -> Iterator[str]:
    """Of what this machine must give."""
    if not places.is_kafka(settings.log.url):
        yield from _file_problems("log.url", places.file_of(settings.log.url))
    if not places.is_postgres(settings.store.url):
        yield from _file_problems("store.url", places.file_of(settings.store.url))
    if settings.spill.folder:
        yield from _file_problems("spill.folder", Path(settings.spill.folder) / "receiver-0.db")
    yield from _port_problems("receiver", host, settings.receiver.port, settings.receiver.reuse_port)
    if settings.probes.port and settings.probes.port != settings.receiver.port:
        yield from _port_problems("probes", settings.probes.host, settings.probes.port)


def _file_problems(path: str, file: Path) -> Iterator[str]:
    nearest = next(place for place in (file, *file.parents) if place.exists())
    if file.is_dir():
        yield f"{path}: {file} is a folder"
    elif nearest != file and not nearest.is_dir():
        yield f"{path}: {nearest} is not a folder, so {file} cannot be made"
    elif not os.access(nearest, os.W_OK):
        yield f"{path}: {nearest} cannot be written"


def _port_problems(section: str, host: str, port: int, shared: bool = False) -> Iterator[str]:
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
            attempt.bind(address)
    except OSError as error:
        yield f"{section}: {host}, port {port}: {error.strerror or error}"
