"""stream tail"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping

import click
import msgspec
from msgspec import Struct

from stream import events, topics
from stream.cli import message
from stream.cli.frame import Frame, json_option
from stream.cli.since import since_option
from stream.cli.state import kept, named, note, remembered
from stream.log import Log
from stream.message import Delivery, Partition
from stream.snapshot import read

_LAST = 10
_STEP, _GROWTH = 1_000, 8  # messages of each partition to look at first; and how much more each time
_FETCH = 500

Places = dict[Partition, int]


class Filter(Struct, frozen=True):
    """Which deliveries are wanted: those of these subjects (a person's), those of this event name; None: any."""

    subjects: frozenset[str] | None = None
    event: str | None = None

    def wants(self, delivery: Delivery) -> bool:
        """Is this one of them?"""
        if self.subjects is None and self.event is None:
            return True
        topic, key = delivery.partition.topic, delivery.message.key
        if topic not in topics.RAW.values():
            return self.event is None and key.decode("utf-8", "replace") in (self.subjects or ())
        event = events.decode(delivery.message, delivery.time)
        named = {event.subject, event.user, event.anonymous, event.group}
        return (self.subjects is None or not named.isdisjoint(self.subjects)) and (
            self.event is None or self.event in (event.event, event.name)
        )


@click.command(epilog='Example: stream tail track --since "2h ago" --event "Order Completed"')
@click.argument("topic")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@since_option("From then on:")
@click.option("--person", metavar="ID", help="Only this person's, under all linked ids. Leaves a line of audit.")
@click.option("--space", help="The space of that ID, where it is not the default one.")
@click.option("--event", metavar="NAME", help="Only events of this name (track, page, screen).")
@click.option(
    "--limit", type=click.IntRange(1), help=f"The last N, {_LAST} if not said. With --since the first N; then it ends."
)
@json_option
@click.pass_obj
def tail(
    frame: Frame,
    topic: str,
    follow: bool,
    since: float | None,
    person: str | None,
    space: str | None,
    event: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show the messages of a topic, as they were received.

    TOPIC is a name like segment.track, or a type like track. A line is: when the log took it, partition/offset, key,
    where it came from, and the bytes. What cannot be printed is escaped. With --json, a line is an object with all
    headers."""
    if (name := topics.RAW.get(topic, topic)) not in topics.ALL:
        raise click.UsageError(f"there is no topic {topic}; there are: {', '.join(topics.ALL)}")
    if (event is not None and name not in topics.RAW.values()) or (person is not None and name == topics.INVALID):
        raise click.UsageError(f"{name} cannot be searched for {'an event' if event is not None else 'a person'}")
    subject = None if person is None else named(person, space)
    start = _Start(name, since, limit, follow)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_tail(frame, start, subject, (event, as_json)))


class _Start(Struct, frozen=True):
    topic: str
    since: float | None
    limit: int | None
    follow: bool


async def _tail(frame: Frame, start: _Start, subject: str | None, how: tuple[str | None, bool]) -> None:
    event, as_json = how
    wanted = Filter(None if subject is None else await _of_person(frame, subject, start.topic), event)
    async with kept(frame) as log:
        shown = _from(log, start, wanted) if start.since is not None else _last(log, start, wanted)
        async for delivery in shown:
            click.echo(msgspec.json.encode(message.show(delivery)) if as_json else message.line(delivery))


async def _of_person(frame: Frame, subject: str, topic: str) -> frozenset[str]:
    async with remembered(frame) as store:
        await note(store, f"tail {topic}", [subject])
        snapshot = await read(store, [subject], ())
    return frozenset(snapshot.components[subject].subjects)


async def _from(log: Log, start: _Start, wanted: Filter) -> AsyncIterator[Delivery]:
    """What was taken from a time on, in that order; then, if it is to follow, what comes."""
    places = {p: next for p, (_, next) in (await log.bounds([start.topic], start.since)).items()}
    left = start.limit
    async with contextlib.aclosing(_on(log, start, places)) as found:
        async for delivery in found:
            if wanted.wants(delivery):
                yield delivery
                left = None if left is None else left - 1
                if left == 0:
                    return


async def _on(log: Log, start: _Start, places: Places) -> AsyncGenerator[Delivery, None]:
    async for delivery in log.read(start.topic, start.since or 0.0):
        places[delivery.partition] = delivery.offset + 1
        yield delivery
    if start.follow:
        async for delivery in _read(log, start.topic, places):
            yield delivery


async def _last(log: Log, start: _Start, wanted: Filter) -> AsyncIterator[Delivery]:
    """The last ones, looked for backwards in steps that grow; then, if it is to follow, what comes."""
    bounds = await log.bounds([start.topic])
    ends = {partition: end for partition, (_, end) in bounds.items()}
    limit, step = start.limit or _LAST, max(_STEP, start.limit or 0)
    found: list[Delivery] = []
    whole = False
    while len(found) < limit and not whole:
        begin = {partition: max(first, end - step) for partition, (first, end) in bounds.items()}
        found = await _newest(_read(log, start.topic, begin, ends), wanted, limit)
        whole = all(begin[partition] == first for partition, (first, _) in bounds.items())
        step *= _GROWTH
    for delivery in found:
        yield delivery
    if start.follow:
        async for delivery in _read(log, start.topic, ends):
            if wanted.wants(delivery):
                yield delivery


async def _newest(read: AsyncIterator[Delivery], wanted: Filter, limit: int) -> list[Delivery]:
    found: list[Delivery] = []
    async for delivery in read:
        if wanted.wants(delivery):
            found.append(delivery)
        if len(found) > _STEP + limit:
            found = sorted(found, key=_taken)[-limit:]
    return sorted(found, key=_taken)[-limit:]


async def _read(log: Log, topic: str, begin: Places, until: Places | None = None) -> AsyncIterator[Delivery]:
    """From these places on; up to others, or for ever."""

    async def assigned(partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return {partition: begin[partition] for partition in partitions}

    async def revoked(partitions: Collection[Partition]) -> None:
        """Nothing is written that would have to be finished."""

    alone = f"tail-{secrets.token_hex(8)}"  # with others of its name it would share the partitions
    async with log.consume(alone, [topic], assigned, revoked, until) as cursor:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                for delivery in await cursor.fetch(_FETCH):
                    yield delivery


def _taken(delivery: Delivery) -> tuple[float, int, int]:
    return (delivery.time, delivery.partition.number, delivery.offset)
