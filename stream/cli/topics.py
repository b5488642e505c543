"""stream topics"""

import asyncio
from collections.abc import Iterator, Sequence

import click
from msgspec import Struct

from stream.cli.frame import Frame, answer, json_option
from stream.cli.text import columns
from stream.log import kafka_topics
from stream.log.kafka_topics import Step, There


class Shown(Struct, frozen=True):
    """One topic: our name, Kafka's, and how it is there; 0 partitions: it is not."""

    topic: str
    name: str
    partitions: int
    copies: int
    settings: dict[str, str]


class Found(Struct, frozen=True):
    """The topics, and what is not as configured, with what that costs."""

    topics: list[Shown]
    differences: list[str]


@click.group(epilog="Example: stream topics show")
def topics() -> None:
    """The topics on Kafka: see how they are, make them."""


@topics.command(epilog="Example: stream --config production.toml topics show")
@json_option
@click.pass_obj
def show(frame: Frame, as_json: bool) -> None:
    """Show the topics as they are, and what a difference from the configuration costs."""
    there = asyncio.run(kafka_topics.there(frame.config))
    found = Found(list(_shown(frame, there)), list(kafka_topics.costs(frame.config, there)))
    answer(as_json, found, _lines(found))


@topics.command(epilog="Example: stream --config production.toml topics create --yes")
@click.option("--more-partitions", is_flag=True, help="Also add partitions to topics that have fewer: keys move.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def create(frame: Frame, more_partitions: bool, yes: bool, as_json: bool) -> None:
    """Make the topics that are missing, and set up those that are there, as far as nothing is lost by it.

    Shows what it will do, and asks. Retention and sizes of topics that exist are only raised. To repeat it does no
    harm."""
    there = asyncio.run(kafka_topics.there(frame.config))
    steps = kafka_topics.plan(frame.config, there, more_partitions)
    if not as_json:
        answer(False, steps, _steps(steps))
    if steps and not yes:
        click.confirm(f"Do these {len(steps)} things?", abort=True, err=True)
    asyncio.run(kafka_topics.carry_out(frame.config, steps))
    answer(as_json, steps, ["Done."] if steps else [])


def _shown(frame: Frame, there: There) -> Iterator[Shown]:
    for name, topic in kafka_topics.wanted(frame.config).items():
        found = there.topics.get(name)
        settings = {key: found.settings.get(key, "") for key in topic.settings} if found else {}
        yield Shown(name, topic.name, found.partitions if found else 0, found.copies if found else 0, settings)


def _lines(found: Found) -> Iterator[str]:
    rows = [
        (one.topic, one.name, one.partitions or "not there", one.copies, ", ".join(map("=".join, one.settings.items())))
        for one in found.topics
    ]
    yield from columns(("TOPIC", "ON KAFKA", "PARTITIONS", "COPIES", "SETTINGS"), rows)
    for difference in found.differences:
        yield ""
        yield difference


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    if not steps:
        yield "The topics are as they should be, or differ in what is not changed here: stream topics show"
    for step in steps:
        yield f"{step.topic}: {step.what}"
