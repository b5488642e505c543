"""Reading one assignment, where Kafka's client fails half-way or is given the next one: nobody gets less for it."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from stream.log.kafka_client import TopicPartition
from stream.log.kafka_cursor import Reading
from stream.log.kafka_member import Owned
from stream.message import Partition

PLACES = [TopicPartition("t", number) for number in range(3)]
HELD = 6


class Client:
    """A consumer with some messages in each partition. What it has given it does not give again, unless asked to."""

    def __init__(self) -> None:
        self.at = dict.fromkeys(PLACES, 0)
        self.fails: BaseException | None = None

    def highwater(self, place: TopicPartition) -> int:
        return HELD

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.at[place] = offset

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int = 0, max_records: int = 0
    ) -> Mapping[TopicPartition, Sequence[Any]]:
        found: dict[TopicPartition, Sequence[Any]] = {}
        for place in places or PLACES:
            if place == PLACES[0] and self.fails is not None:
                error, self.fails = self.fails, None
                raise error
            first = self.at[place]
            self.at[place] = min(first + max_records, HELD)
            if first < HELD:
                found[place] = [_record(place, offset) for offset in range(first, self.at[place])]
        return found


@pytest.mark.parametrize("error", [ValueError("a batch is broken"), asyncio.CancelledError()])
async def test_what_one_partition_had_given_before_another_failed_is_given_once_more(error: BaseException) -> None:
    client = Client()
    reading = _reading(client, 0, 1, 2)
    given = list(await reading.take(3, 0.0))
    client.fails = error
    with pytest.raises(type(error)):
        await reading.take(3, 0.0)
    while some := await reading.take(3, 0.0):
        given += some
    for number in range(3):
        assert [one.offset for one in given if one.partition.number == number] == list(range(HELD))


async def test_what_a_fetch_finds_of_the_next_assignment_is_not_handed_out_and_given_under_that_one() -> None:
    client = Client()
    given = await _reading(client, 0).take(3, 0.0)  # meanwhile the client is given all three
    assert {one.partition for one in given} == {Partition("t", 0)}
    given, reading = [], _reading(client, 0, 1, 2)
    while some := await reading.take(3, 0.0):
        given += some
    for number in range(3):
        assert [one.offset for one in given if one.partition.number == number] == list(range(HELD))


def _reading(client: Client, *numbers: int) -> Reading:
    """Of these partitions, from their beginning."""
    lookup: Any = SimpleNamespace(place=lambda p: TopicPartition(p.topic, p.number))
    owned: Any = Owned(client, {Partition("t", number): 0 for number in numbers}, {})  # type: ignore[arg-type]
    return Reading(owned, lookup, None)


def _record(place: TopicPartition, offset: int) -> Any:
    return SimpleNamespace(
        topic=place.topic, partition=place.partition, offset=offset, timestamp=0, key=b"k", value=b"v", headers=()
    )
