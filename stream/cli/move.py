"""stream move"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import click
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stream.cli.frame import Frame, answer, json_option
from stream.cli.text import columns
from stream.config import Config, load
from stream.log import Log, kafka_topics
from stream.log.kafka import Kafka
from stream.log.kafka_copy import KafkaCopier
from stream.log.opening import looked_at
from stream.log.sqlite import SqliteLog
from stream.message import Partition
from stream.moving import CannotMove, Part, amount, copy, plan, verify
from stream.places import brokers, file_of, is_kafka, shown
from stream.store import Store, migrations, moved
from stream.store.database import Database
from stream.store.sqlite import SqliteDatabase


class Plan(Struct, frozen=True):
    """What a move does, and how far it is: messages by topic (all, still to copy), rows by table."""

    log: str
    store: str
    messages: Mapping[str, tuple[int, int]]
    rows: Mapping[str, int]
    moved: bool


class Ends(Struct, frozen=True):
    """What is moved from, and to."""

    old: SqliteLog
    state: Database
    new: Log
    store: Store


@click.command(epilog="Example: stream --config production.toml move stream.toml --dry-run")
@click.argument("old", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show what would be moved. Nothing is.")
@json_option
@click.pass_obj
def move(frame: Frame, old: Path, dry_run: bool, as_json: bool) -> None:
    """Take an embedded installation over: its log onto Kafka, its state into this configuration's store.

    FILE is the configuration of the embedded one; it must not run. The topics must be there, empty, with as many
    partitions as it has (`stream topics create`), the store must be empty. Messages keep their partition, order and
    time, every position goes along, and what was sent or told is remembered: so nothing is lost or done again. Both
    logs are compared before the state is copied. What was published of whole people (person.profile) goes along if the
    new configuration publishes it, too. A move that was cut off goes on where it was; when it is done, the old
    state refuses to be run on."""
    found = asyncio.run(_move(frame.config, load(old), dry_run))
    answer(as_json, found, _lines(found))


async def _move(config: Config, old: Config, dry_run: bool) -> Plan:
    if not is_kafka(config.log.url) or is_kafka(old.log.url):
        raise CannotMove("a move goes from sqlite: to kafka://: --config names the new installation, FILE the old one")
    if config.store.url == old.store.url:
        raise CannotMove("both have the same store; a move needs one of its own: nothing of the old one is changed")
    async with _opened(config, old) as ends:
        begun = await moved.begun(ends.store.db)
        if begun is not None and begun.log != ends.old.identity:
            raise CannotMove("the store holds a move of another log: give it an empty one")
        if begun is None and (table := await moved.occupied(ends.store.db)):
            raise CannotMove(f"the store is not empty ({table}): nothing may run on it before the move")
        begins = {} if begun is None else {Partition(topic, number): at for topic, number, at in begun.begins}
        if begun is not None and begun.done and not dry_run:  # it may have been cut off just before this
            await moved.close(ends.state, shown(config.store.url))
        names = kafka_topics.wanted(config)
        parts = await plan(ends.old, ends.new, begins, names)
        found = await _plan(config, ends, parts, begun is not None and begun.done)
        if not dry_run and not found.moved:
            await _carry_out(config, ends, parts)
            parts = await plan(ends.old, ends.new, {part.partition: part.begin for part in parts}, names)
            found = await _plan(config, ends, parts, True)
    return found


async def _carry_out(config: Config, ends: Ends, parts: list[Part]) -> None:
    begun = moved.Begun(ends.old.identity, [(p.partition.topic, p.partition.number, p.begin) for p in parts])
    await moved.begin(ends.store.db, begun)
    with _bar("messages", sum(part.left for part in parts)) as advance:
        to = Kafka(brokers(config.log.url), config.kafka, config.topics, time.time)
        async with KafkaCopier.open(to) as copier:
            await copy(ends.old, copier, parts, advance)
    with _bar("compared", 2 * amount(parts)) as advance:
        await verify(ends.old, ends.new, parts, advance)
    logs = await ends.new.identities({part.partition.topic for part in parts})
    shifts = moved.Shifts({part.partition: part.shift for part in parts}, logs)
    done = moved.Begun(begun.log, begun.begins, True)
    with _bar("rows", sum((await moved.sizes(ends.state)).values())) as advance:
        await moved.move(ends.state, ends.store.db, shifts, done, advance)
    await moved.close(ends.state, shown(config.store.url))


@asynccontextmanager
async def _opened(config: Config, old: Config) -> AsyncIterator[Ends]:
    for file in (file_of(old.log.url), file_of(old.store.url)):
        if not file.exists():
            raise CannotMove(f"there is nothing to move: {file} does not exist")
    async with (
        SqliteLog.open(file_of(old.log.url), partitions=old.log.partitions, clock=lambda: 0.0) as log,
        SqliteDatabase.open(file_of(old.store.url)) as state,
        looked_at(config) as new,
        Store.open(config.store, config.identity) as store,
    ):
        await state.reading(lambda tx: migrations.check(tx, state))
        yield Ends(log, state, new, store)


async def _plan(config: Config, ends: Ends, parts: list[Part], done: bool) -> Plan:
    by_topic: dict[str, tuple[int, int]] = {}
    for part in parts:
        every, left = by_topic.get(part.partition.topic, (0, 0))
        by_topic[part.partition.topic] = (every + part.end - part.first, left + part.left)
    rows = await moved.sizes(ends.state)
    return Plan(shown(config.log.url), shown(config.store.url), by_topic, {t: n for t, n in rows.items() if n}, done)


def _lines(found: Plan) -> Iterator[str]:
    rows = [(topic, f"{every:,}", f"{left:,}") for topic, (every, left) in found.messages.items() if every]
    yield from columns(("TOPIC", "MESSAGES", "LEFT"), rows)
    yield from columns(("TABLE", "ROWS"), [(table, f"{amount:,}") for table, amount in found.rows.items()])
    if found.moved:
        yield f"all of it is in {found.log} and {found.store} now; the old state refuses to be run on"
    else:
        yield f"it would go to {found.log} and {found.store}; nothing was moved by this"


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    parts = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*parts, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)
