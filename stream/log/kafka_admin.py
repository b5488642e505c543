"""Topics on Kafka, as they are and as they are made: what Kafka's admin client is asked."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from stream.errors import LogError, LogRefused, LogUnavailable
from stream.log.kafka import translated
from stream.log.kafka_lookup import asked, look
from stream.log.kafka_wire import Change

T = TypeVar("T")

_THERE_ALREADY, _NOT_THERE = 36, 3
_FORBIDDEN = (29, 31)
_TOPIC = 2
_SEEN_S, _LOOK_S = 20.0, 0.05  # for the brokers to hear of a change


class Topic(Struct, frozen=True):
    """A topic: its name there, how many partitions it has, how many copies of each, and its settings by Kafka's names.
    `copies` -1: as many as the cluster's default."""

    name: str
    partitions: int
    copies: int
    settings: Mapping[str, str]


async def settings(admin: Any, names: Collection[str]) -> dict[str, dict[str, str]]:
    """The settings in force of topics that exist: their own, or their brokers' defaults."""
    resources = [_Resource(_TOPIC, name, None) for name in sorted(names)]
    if not resources:
        return {}
    with translated("how topics are set up"):
        (response,) = await admin.describe_configs(resources)
    found: dict[str, dict[str, str]] = {}
    for code, message, _, name, entries in response.resources:
        _check(name, code, message)
        found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found


async def create(admin: Any, topics: Sequence[Topic]) -> None:
    """Makes those that are not there yet; returns when they are seen."""
    made = [_New(one.name, one.partitions, one.copies, {}, dict(one.settings)) for one in topics]
    with translated("making topics"):
        response = await admin.create_topics(made)
    for name, code, *message in response.topic_errors:
        _check(name, 0 if code == _THERE_ALREADY else code, message[0] if message else None)
    names = {topic.name for topic in topics}
    await _seen(lambda: _equal(_names(admin, names), names))


async def delete(admin: Any, names: Sequence[str]) -> None:
    """Deletes those that are there, with all that they hold; returns when they are gone."""
    with translated("deleting topics"):
        response = await admin.delete_topics(list(names))
    for name, code in response.topic_error_codes:
        _check(name, 0 if code == _NOT_THERE else code, None)
    await _seen(lambda: _equal(_names(admin, names), set()))


async def extend(admin: Any, name: str, partitions: int) -> None:
    """Adds partitions, up to so many. Keys move: what a person does next may lie in another partition than before."""
    with translated(f"adding partitions to {name}"):
        await admin.create_partitions({name: _More(partitions, None)})
    await _seen(lambda: _equal(_count(admin, name), partitions))


async def set_up(admin: Any, name: str, given: Mapping[str, str]) -> None:
    """Changes these settings of a topic, and no others."""
    with translated(f"setting up {name}"):
        refused = await asked(admin, Change(name, given))
    if refused is not None:
        raise LogError(f"Kafka, setting up {name}: {refused}")
    await _seen(lambda: _set(admin, name, given))


class _Resource(Struct, frozen=True):  # as the client's own classes: it takes what has these attributes
    resource_type: int
    name: str
    configs: Mapping[str, str] | None


class _New(Struct, frozen=True):
    name: str
    num_partitions: int
    replication_factor: int
    replica_assignments: Mapping[int, Sequence[int]]
    topic_configs: Mapping[str, str]


class _More(Struct, frozen=True):
    total_count: int
    new_assignments: None


async def _names(admin: Any, names: Collection[str]) -> set[str]:
    return set((await look(admin, names)).topics)


async def _count(admin: Any, name: str) -> int:
    return len((await look(admin, [name])).topics[name].copies)


async def _set(admin: Any, name: str, given: Mapping[str, str]) -> bool:
    return given.items() <= (await settings(admin, [name]))[name].items()


async def _equal(found: Awaitable[T], wanted: T) -> bool:
    return await found == wanted


async def _seen(done: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(int(_SEEN_S / _LOOK_S)):
        if await done():
            return
        await asyncio.sleep(_LOOK_S)
    raise LogUnavailable(f"Kafka: the brokers have not heard of the change after {_SEEN_S:.0f} s")


def _check(name: str, code: int, message: str | None) -> None:
    if code in _FORBIDDEN:
        raise LogRefused(f"Kafka, {name}: this user has no right to do that; the cluster's administrator can give it")
    if code:
        raise LogError(f"Kafka, {name}: {message or f'error {code}'}")
