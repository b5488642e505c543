"""The log and the store that a configuration names, as `stream check` finds them."""

from pathlib import Path

from msgspec import Struct, field

from stream.config import Config
from stream.errors import LogError, SchemaMismatch, StoreError, StoreRefused, StoreUnavailable
from stream.places import file_of, is_kafka, is_postgres, shown
from stream.store import Store


class Servers(Struct):
    """Where they are, and what there is to say of them."""

    log: str
    store: str
    differences: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def look(config: Config, migrate: bool) -> Servers:
    """Asks servers; looks into no file of another process. `migrate`: the store is made, or brought up to date."""
    found = Servers(_at(config.log.url), _at(config.store.url))
    if is_kafka(config.log.url):
        await _look_at_kafka(config, found)
    if migrate or is_postgres(config.store.url):
        await _look_at_store(config, migrate, found)
    return found


async def _look_at_kafka(config: Config, found: Servers) -> None:
    from stream.log import kafka_topics  # its client takes a while to import

    try:
        there = await kafka_topics.there(config)
    except LogError as error:
        found.problems.append(f"log.url: {error}")
        return
    missing = [topic.name for name, topic in kafka_topics.wanted(config).items() if name not in there.topics]
    if missing:
        found.problems.append(f"log.url: Kafka has no topic {', '.join(missing)}: stream topics create")
    found.differences += kafka_topics.costs(config, there)


async def _look_at_store(config: Config, migrate: bool, found: Servers) -> None:
    if migrate and not is_postgres(config.store.url):
        Path(file_of(config.store.url)).parent.mkdir(parents=True, exist_ok=True)
    try:
        async with Store.open(config.store, config.identity, create=migrate):
            return
    except (StoreUnavailable, StoreRefused, SchemaMismatch) as error:
        found.problems.append(f"store.url: {error}")
    except StoreError as error:
        if migrate:
            found.problems.append(f"store.url: {error}")
        else:
            found.differences.append(f"{found.store}: {error}, or `stream check --migrate`")


def _at(url: str) -> str:
    return shown(url).removeprefix("sqlite:")
