"""stream.toml as frozen structs, and how it is read."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert, field, structs

from stream import places, toml
from stream.errors import ConfigError
from stream.places import Count, KafkaConfig, LogConfig, Seconds, SpillConfig, StoreConfig

Secrets = Annotated[tuple[str, ...], Meta(max_length=2)]  # one, or two while rotating


class ReceiverConfig(Struct, frozen=True):
    """[receiver]: where Segment and its SDKs post to, and what is too much."""

    host: str = ""  # empty: every interface with a secret, loopback without one
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080  # 0: any free one
    secrets: Secrets = ()  # of /segment
    require_header: str = ""  # "Name: value" that every request to /segment must carry
    on_bad_signature: Literal["retry", "reject"] = "retry"
    on_unknown_write_key: Literal["retry", "reject"] = "retry"
    max_body_bytes: Count = 8 * 1024 * 1024  # inflated
    max_batch_events: Count = 5_000
    max_depth: Annotated[int, Meta(ge=1, le=500)] = 200  # Python's own JSON reader gives up near 1,000
    max_in_flight: Count = 1_000
    reuse_port: bool = False  # several receivers on one port of one host
    body_timeout_s: Seconds = 10.0


class ProbesConfig(Struct, frozen=True):
    """[probes]: where a process without the receiver answers /health, /ready and /metrics. The receiver's own process
    does at [receiver]."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0  # 0: nowhere; two processes on one host cannot share one


class SourceConfig(Struct, frozen=True):
    """[sources.NAME]: one Segment source. /segment/NAME, and the SDK paths with its write key."""

    secrets: Secrets = ()
    write_key: str = ""
    require_header: str = ""
    space: str = ""


class IdentityConfig(Struct, frozen=True):
    """[identity]: which identifiers are one person."""

    alias: bool = False  # Segment's Unify does not merge on alias
    max_links: Count = 100  # as in Segment's Unify (facts §8); a subject with more is shared and links nobody
    never_link: tuple[str, ...] = ("", "null", "undefined", "anonymous", "0", "-1")


class PublishConfig(Struct, frozen=True):
    """[publish]: what is written for others to read."""

    profile: bool = False  # person.profile beside person.changed


class GateConfig(Struct, frozen=True):
    """[gate]: when nobody may be given anything."""

    max_lag_s: Seconds = 60.0  # profiles, consent or deletion further behind than this


class PurposeConfig(Struct, frozen=True):
    """[purposes.NAME]: the consent that sending for this purpose needs: all of it. Nothing listed: none is needed."""

    categories: tuple[str, ...] = ()  # of the consent object, each must be yes
    channels: tuple[str, ...] = ()  # of the subscriptions (email, sms, list:ID), of each nobody may have opted out
    unknown: Literal["deny", "allow"] = "deny"  # where the person never said


class LaneConfig(Struct, frozen=True):
    """Settings of every sync and every reactor, beside its own: in [processors.NAME], or for NAME.DESTINATION in
    [processors.NAME.DESTINATION]."""

    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 64  # people at once
    window: Annotated[int, Meta(ge=1, le=100_000)] = 2_000  # deliveries in memory; no more are fetched meanwhile
    grace_s: Seconds = 10.0  # for what runs, when partitions go to another member or the process ends
    patience_s: Seconds = 5.0  # how long a person's failing delivery is tried in memory before its lane is held
    longest_wait_s: Seconds = 600.0  # between two tries of what is held
    max_held_lanes: Count = 10_000  # people with a held lane; beyond it failing deliveries wait in memory
    wait_behind_dead: bool = False  # do later deliveries of a person wait behind a dead one?
    max_age_s: Annotated[float, Meta(ge=0)] = 86_400.0  # reactors: older when received is skipped; 0: no limit
    walk_every_s: Annotated[float, Meta(ge=0)] = 86_400.0  # syncs: from the end of a walk to the next; 0: never


class Config(Struct, frozen=True):
    """The whole file. No file at all is this struct's defaults with the four built-in projections."""

    receiver: ReceiverConfig = ReceiverConfig()
    probes: ProbesConfig = ProbesConfig()
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    log: LogConfig = LogConfig()
    kafka: KafkaConfig = KafkaConfig()
    topics: dict[str, str] = field(default_factory=dict)  # our name of a topic → what it is called on Kafka
    spill: SpillConfig = SpillConfig()
    store: StoreConfig = StoreConfig()
    identity: IdentityConfig = IdentityConfig()
    publish: PublishConfig = PublishConfig()
    gate: GateConfig = GateConfig()
    purposes: dict[str, PurposeConfig] = field(default_factory=dict)
    connectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    processors: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"profiles": {}, "audiences": {}, "consent": {}, "deletion": {}}
    )
    folder: Path = Path()  # not in the file: where it lies. [processors.x] is looked up beside it


NAME = "stream.toml"


def load(path: Path | None = None) -> Config:
    """The configuration in `path`; without one, in ./stream.toml; where there is none, the defaults.

    Paths in it are absolute afterwards, from the folder of the file. Raises ConfigError, which names the file, the
    path in it and what is allowed there, and never shows a value that may be secret."""
    file = Path(NAME) if path is None else path
    raw: dict[str, Any] = {}
    if path is not None or file.exists():
        raw = toml.read(file)
    try:
        config = _config(raw, file.absolute().parent)
        if problems := list(_problems(config)):
            raise ConfigError("; ".join(problems))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    return structs.replace(
        config,
        log=structs.replace(config.log, url=places.absolute(config.log, config.folder)),
        kafka=places.kafka_from(config.kafka, config.folder),
        spill=structs.replace(config.spill, folder=config.spill.folder and str(config.folder / config.spill.folder)),
        store=structs.replace(config.store, url=places.absolute(config.store, config.folder)),
    )


_SECTIONS: dict[str, type[Struct]] = {
    "receiver": ReceiverConfig,
    "probes": ProbesConfig,
    "log": LogConfig,
    "kafka": KafkaConfig,
    "spill": SpillConfig,
    "store": StoreConfig,
    "identity": IdentityConfig,
    "publish": PublishConfig,
    "gate": GateConfig,
}
_TABLES = (*_SECTIONS, "topics", "sources", "purposes", "connectors", "processors")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[!-~]([ -~]*[!-~])?")
_SOURCE_NAME = re.compile(r"[a-z0-9_-]+")


def _config(raw: dict[str, Any], folder: Path) -> Config:
    toml.known("", raw, _TABLES)
    found = toml.expanded(raw)
    sections: dict[str, Any] = {
        name: toml.struct(name, found[name], kind) for name, kind in _SECTIONS.items() if name in found
    }
    sources = toml.table("sources", found.get("sources", {}))
    sections["sources"] = {name: toml.struct(f"sources.{name}", value, SourceConfig) for name, value in sources.items()}
    if "topics" in found:
        sections["topics"] = _names(found["topics"])
    purposes = toml.table("purposes", found.get("purposes", {}))
    sections["purposes"] = {
        name: toml.struct(f"purposes.{name}", value, PurposeConfig) for name, value in purposes.items()
    }
    for section in {"connectors", "processors"} & found.keys():
        tables = toml.table(section, found[section])
        sections[section] = {name: toml.table(f"{section}.{name}", value) for name, value in tables.items()}
    return Config(folder=folder, **sections)


def _names(value: Any) -> dict[str, str]:
    try:
        return convert(toml.table("topics", value), dict[str, str])
    except ValidationError:
        raise ConfigError('topics: each line is "OUR NAME" = "THE NAME ON KAFKA", both in quotes') from None


def _problems(config: Config) -> Iterator[str]:
    yield from _secret_problems("receiver", config.receiver)
    for name, source in config.sources.items():
        if not _SOURCE_NAME.fullmatch(name):
            yield f"sources.{name}: a source's name is made of a-z, 0-9, _ and -, as it stands in /segment/NAME"
        if name == "segment":
            yield "sources.segment: that is the source of /segment itself, which [receiver] sets up; name it otherwise"
        yield from _secret_problems(f"sources.{name}", source)
    keys = Counter(source.write_key for source in config.sources.values() if source.write_key)
    for name, source in config.sources.items():
        if keys[source.write_key] > 1:
            yield f"sources.{name}.write_key is another source's too: one key, one source"
    if "internal" in config.purposes:
        yield "purposes.internal: that one is built in, and needs no consent; name yours otherwise"
    yield from places.problems(config.log, config.kafka, config.topics, config.spill, config.store)


def _secret_problems(path: str, section: ReceiverConfig | SourceConfig) -> Iterator[str]:
    for index, secret in enumerate(section.secrets):
        if not secret:
            yield f"{path}.secrets[{index}] is empty"
    if section.require_header and not _HEADER.fullmatch(section.require_header):
        yield f'{path}.require_header is not of the form "Name: value"'
