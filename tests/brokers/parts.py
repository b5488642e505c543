"""What a whole system under test keeps its log and its state in."""

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, structs

from stream.config import Config
from stream.places import KafkaConfig, LogConfig, StoreConfig

Sections = Mapping[str, Mapping[str, Any]]
"""Tables of a stream.toml."""


class Real(Struct, frozen=True):
    """A Kafka with topics, and a database, that only one test uses."""

    log: LogConfig
    kafka: KafkaConfig
    topics: dict[str, str]
    store: StoreConfig


class Parts(Struct, frozen=True):
    """Files beside the configuration; or, where there are any, the real ones."""

    real: Real | None = None

    def sections(self, given: Sections) -> dict[str, dict[str, Any]]:
        """These sections, on these parts."""
        if self.real is None:
            return {name: dict(table) for name, table in given.items()}
        own = {name: _changed(getattr(self.real, name)) for name in self.real.__struct_fields__}
        return {name: {**given.get(name, {}), **own.get(name, {})} for name in {**given, **own}}

    def config(self, given: Config) -> Config:
        """This configuration, on these parts."""
        return structs.replace(given, **structs.asdict(self.real)) if self.real else given


FILES = Parts()


def toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """The text of a stream.toml."""
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"[{'.'.join(map(json.dumps, path))}]"] if path else []
    lines += [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in plain.items()]
    lines += [toml(value, (*path, name)) for name, value in table.items() if isinstance(value, Mapping)]
    return "\n".join([*lines, ""])


def _changed(section: Struct | dict[str, str]) -> dict[str, Any]:
    if isinstance(section, dict):
        return dict(section)
    usual = structs.asdict(type(section)())
    return {name: value for name, value in structs.asdict(section).items() if value != usual[name]}
