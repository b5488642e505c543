"""A sync that looks at everybody, of whom nobody differs, against one SELECT over the same rows, decoded.

The first walk of a process looks at each of them; it warms, and is shown apart. Later ones look at who has changed."""

import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry

from benchmarks.table import Goal, Row, ratio
from processors.audiences import Lists, Settings
from stream import facts
from stream.batch import Surroundings
from stream.commits import Commits
from stream.config import Config, LaneConfig, PurposeConfig
from stream.connector import Limits
from stream.core.register import Register
from stream.errors import Dead
from stream.facts import CATEGORIES, Consents, Membership, Memberships, Profile, Statement
from stream.gate import Gate
from stream.log.sqlite import SqliteLog
from stream.message import Delivery, Partition
from stream.purpose import ASKED
from stream.store import Store
from stream.syncer import Means, Syncing
from stream.telemetry import Metrics
from stream.turns import Turns
from stream.walker import Walker

NOW = 1_700_000_000.0


class Crm:
    """A destination that is never asked."""

    name = "crm"
    kinds: tuple[str, ...] = ("email",)
    limits = Limits()
    bulk: Mapping[str, int] = MappingProxyType({})

    def set_membership(self, changes: Any) -> Any:
        raise Dead("somebody differs")


class Nobody:
    """A runner that nobody needs."""

    async def put(self, delivery: Delivery, slow: bool) -> str:
        raise AssertionError("somebody differs")

    def owns(self, partition: Partition) -> bool:
        return True


class _Size(Struct, frozen=True):
    people: int
    rounds: int


async def walk(quick: bool) -> Row:
    """People with a profile, two audiences and consent, who are on two lists at a destination, as they are to be."""
    size = _Size(20_000, 3) if quick else _Size(100_000, 5)
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with _opened(folder) as around:
            await _fill(around.store, size.people)
            walker = _walker(around)
            for _ in range(size.rounds + 1):
                plain.append(_selected(folder / "state.db", size.people))
                ours.append(await _walked(around, walker, size.people))
    goals = (Goal("of its people/s", ratio(ours[1:], plain[1:]), 0.3),)
    work = f"a sync's walk over {size.people:,} people, nothing differs"
    figures = {"people/s": ours[1:], "plain people/s": plain[1:], "first walk people/s": ours[:1]}
    return Row("walk", work, "one SELECT over the same rows, decoded", goals, figures)


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[Surroundings]:
    config = Config()
    async with (
        SqliteLog.open(folder / "log.db", partitions=1, clock=lambda: NOW) as log,
        Store.open(f"sqlite:{folder / 'state.db'}", config.identity) as store,
    ):
        yield Surroundings(log, store, Turns(), Metrics(CollectorRegistry()), lambda: NOW)


def _walker(around: Surroundings) -> Walker:
    config = Config(
        purposes={"marketing": PurposeConfig(categories=("Marketing",), channels=("email",), unknown="allow")}
    )
    sync = Lists("audiences.crm", Crm(), Settings())
    means = Means(_Unasked(), Gate(around, config), Commits(around.store), 10.0)
    return Walker(Syncing(sync, LaneConfig(), around, means), Nobody(), around)


async def _walked(around: Surroundings, walker: Walker, people: int) -> float:
    await around.store.walks.ask("audiences.crm", "benchmark", False, NOW)
    begun = time.perf_counter()
    await walker.step()
    took = time.perf_counter() - begun
    ((seen, differed),) = await around.store.db.reading(
        lambda tx: tx.all("SELECT seen, differed FROM walks ORDER BY id DESC LIMIT 1")
    )
    assert (seen, differed) == (people, 0), (seen, differed)
    return people / took


def _selected(file: Path, people: int) -> float:
    """Whoever needs all of it, as one statement, in order."""
    decoders = {table: msgspec.json.Decoder(kind) for table, kind in facts.TABLES.items()}
    state = sqlite3.connect(file)
    begun = time.perf_counter()
    seen = 0
    rows = state.execute(
        "SELECT p.subject, p.value, a.value, c.value, t.address, t.thing, t.value FROM rows AS p"
        " LEFT JOIN rows AS a ON a.tbl = 'audiences' AND a.subject = p.subject"
        " LEFT JOIN rows AS c ON c.tbl = 'consent' AND c.subject = p.subject"
        " LEFT JOIN confirmed AS t ON t.subject = p.subject WHERE p.tbl = 'profiles' ORDER BY p.subject"
    )
    last = None
    for subject, profile, audiences, consent, _, _, told in rows:
        if subject != last:
            last = subject
            seen += 1
            decoders["profiles"].decode(profile)
            decoders["audiences"].decode(audiences)
            decoders["consent"].decode(consent)
        msgspec.json.decode(told)
    took = time.perf_counter() - begun
    state.close()
    assert seen == people, seen
    return people / took


async def _fill(store: Store, people: int) -> None:
    encode = msgspec.json.Encoder().encode

    async def write(tx):
        await tx.many("INSERT INTO caught_up (processor, time) VALUES (?, ?)", [(name, NOW) for name in ASKED])
        for first in range(0, people, 10_000):
            numbers = range(first, min(people, first + 10_000))
            await tx.many(
                "INSERT INTO rows (tbl, subject, version, value) VALUES (?, ?, ?, ?)",
                [
                    (table, f"user:{n:09}", 3 * n + place, encode(row).decode())
                    for n in numbers
                    for place, (table, row) in enumerate(_rows(n))
                ],
            )
            await tx.many(
                "INSERT INTO identifiers (identifier, subject) VALUES (?, ?)",
                [(f"email:{n}@example.com", f"user:{n:09}") for n in numbers],
            )
            await tx.many(
                "INSERT INTO confirmed (destination, address, thing, verb, processor, subject, value, told)"
                " VALUES ('crm', ?, ?, 'set_membership', 'audiences.crm', ?, 'true', ?)",
                [
                    (f"email:{n}@example.com", f"list:{key}", f"user:{n:09}", NOW)
                    for n in numbers
                    for key in ("vip", "news")
                ],
            )
        await tx.run("ANALYZE")

    await store.db.writing(write)


def _rows(number: int) -> Iterator[tuple[str, Struct]]:
    stamp = (NOW - number % 1_000, NOW, f"message-{number}")
    traits = {"email": f"{number}@example.com", "plan": "gold", "name": f"Name {number}", "city": "Berlin", "age": 40}
    yield (
        "profiles",
        Profile(
            first_seen=NOW - 1_000,
            last_seen=NOW,
            traits={name: Register(value, *stamp) for name, value in traits.items()},
            identifiers={f"email:{number}@example.com": Register(True, *stamp)},
            types={"identify": 3, "page": 12},
            events={"Order Completed": 3, "Signed Up": 1},
            recent="0123456789abcdef" * 4,
        ),
    )
    audiences = {f"spa_1/{key}": Membership(True, *stamp, "audience", "aud_1") for key in ("vip", "news")}
    yield "audiences", Memberships(audiences=audiences)
    yes = {"Marketing": True, "Analytics": True}
    yield (
        "consent",
        Consents(
            categories={CATEGORIES: Statement(yes, *stamp, "web", "identify")},
            subscriptions={"email": Statement("subscribed", *stamp, "web", "Email Subscribed")},
        ),
    )


class _Unasked:
    async def perform(self, flow: Any, allow: Any, gives: bool, slow: bool = False) -> Any:
        raise AssertionError("somebody differs")
