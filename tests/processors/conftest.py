"""Events as the receiver stores them, and histories run through a projection with no I/O at all."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from stream.core.sheet import Loaded, Missing, Sheet
from stream.errors import Dead, Skip
from stream.events import Event, decode
from stream.message import Message
from stream.processor import Projection

BASE = 1_700_000_000.0


def make(type: str, at: float = 0.0, *, path: str = "destination", space: str = "", **fields: Any) -> Event:
    """An event of `at` seconds after BASE, received 0.5 s later; `fields` in the wire's camelCase."""
    body = {"type": type, "messageId": f"m-{type}-{at}", **fields}
    body.setdefault("timestamp", _iso(BASE + at))
    body.setdefault("receivedAt", _iso(BASE + at + 0.5))
    headers = {"source": "web", "space": space, "received": f"{BASE + at + 1:.6f}", "path": path, "signed": "1"}
    if path == "operator":
        headers["authority"] = "operator"
    wire = tuple((name, value.encode()) for name, value in headers.items())
    return decode(Message(f"segment.{type}", b"key", json.dumps(body).encode(), wire))


class Ran(Struct):
    """What became of a history: rows by table and subject, and all that was asked for besides."""

    rows: dict[str, dict[str, Any]] = {}
    marks: list[tuple[str, str]] = []
    links: dict[tuple[str, str], float] = {}
    forgets: dict[str, tuple[str, float, str]] = {}
    addresses: set[tuple[str, str]] = set()
    fates: list[str] = []


def play(projection: Projection, *batches: Iterable[Event], refuse: bool = False) -> Ran:
    """Each batch on a sheet of its own, its rows read from what the ones before left, as the engine does it."""
    ran = Ran()
    stored: dict[tuple[str, str], str] = {}
    for batch in batches:
        sheet = Sheet()
        bound = projection.bound_to(sheet)
        for event in batch:
            ran.fates.append(_fate(bound, sheet, stored, event, refuse))
        for key, value in sheet.puts.items():
            if value is not None:
                stored[key] = value
        _collect(ran, sheet)
    kinds = {table.name: table.kind for table in projection.tables().values()}
    for (table, subject), value in stored.items():
        ran.rows.setdefault(table, {})[subject] = msgspec.json.decode(value, type=kinds[table])
    return ran


def _fate(bound: Projection, sheet: Sheet, stored: dict[tuple[str, str], str], event: Event, refuse: bool) -> str:
    while True:
        if refuse:
            sheet.tombstones[event.subject] = event.time
        sheet.begin(event.time)
        try:
            (bound.refused if refuse else bound.handle)(event)
        except Missing as missing:
            sheet.drop()
            value = stored.get(missing.key)
            sheet.load({missing.key: Loaded(None if value is None else 1, value)}, {})
        except (Skip, Dead) as outcome:
            sheet.drop()
            return f"{type(outcome).__name__.lower()}:{outcome.reason}"
        else:
            sheet.keep()
            return "applied"


def _collect(ran: Ran, sheet: Sheet) -> None:
    ran.marks += sheet.changes.marks
    ran.forgets |= {request: (subject, *how) for (request, subject), how in sheet.changes.forgets.items()}
    ran.addresses |= sheet.changes.addresses.keys()
    for pair, (first, _) in sheet.changes.links.items():
        ran.links[pair] = min(first, ran.links.get(pair, first))


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat()


@pytest.fixture(scope="session")
def event() -> Callable[..., Event]:
    return make


@pytest.fixture(scope="session")
def run() -> Callable[..., Ran]:
    return play


@pytest.fixture(scope="session")
def base() -> float:
    return BASE
