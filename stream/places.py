"""Places: where messages and state are kept: [log], [kafka], [topics], [spill] and [store] as frozen structs."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from stream import topics

Count = Annotated[int, Meta(ge=1)]
Days = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(gt=0)]


class LogConfig(Struct, frozen=True):
    """[log]: where messages are kept. On Kafka, partitions and retention are what `stream topics create` makes."""

    url: str = "sqlite:data/log.db"  # or kafka://HOST:PORT,HOST:PORT
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 4
    retention_days: Days = 14.0
    retention_bytes: Annotated[int, Meta(ge=0)] = 0  # 0: no bound; on Kafka: of each partition
    queue_bytes: Count = 64 * 1024 * 1024


class KafkaConfig(Struct, frozen=True):
    """[kafka]: how to talk to the brokers that log.url names. Names and values as in Kafka's own clients."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: str = ""  # empty: the system's authorities
    cert_file: str = ""  # with key_file: the client's own certificate
    key_file: str = ""
    key_password: str = ""
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = ""
    username: str = ""
    password: str = ""
    token: str = ""  # OAUTHBEARER: a token as it is, or
    token_file: str = ""  # a file that is read anew for each connection, or
    token_url: str = ""  # where client credentials (username, password, scope) get one
    scope: str = ""
    client_id: str = "segment-stream"
    client_rack: str = ""  # read from the nearest replica
    group_prefix: str = ""  # before each processor's name
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    producers: Annotated[int, Meta(ge=1, le=16)] = 1  # more pay where brokers are milliseconds away
    append_timeout_s: Seconds = (
        3.0  # then an event's fate is unknown: it is spilled, or answered 503 (Segment waits 5 s)
    )
    max_message_bytes: Count = 1_000_000  # larger ones go to `refused`; topics are made for this
    session_timeout_s: Seconds = 30.0
    replication_factor: Annotated[int, Meta(ge=1, le=32767)] = 3  # of what `stream topics create` makes
    min_insync_replicas: Annotated[int, Meta(ge=1, le=32767)] = 2


class SpillConfig(Struct, frozen=True):
    """[spill]: where events wait while Kafka is away. Without a folder there is no spill, and they are answered 503."""

    folder: str = ""  # on a persistent volume; each receiver process has a file of its own in it
    max_bytes: Count = 1024 * 1024 * 1024


class StoreConfig(Struct, frozen=True):
    """[store]: where state is kept."""

    url: str = "sqlite:data/state.db"  # or postgresql://USER:PASSWORD@HOST:PORT/DATABASE
    connections: Annotated[int, Meta(ge=2, le=1_000)] = 10  # PostgreSQL: of each process, at most
    statement_timeout_s: Seconds = 30.0


_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # Kafka's own rule
_BROKERS = re.compile(r"[^\s,/@]+:\d+(,[^\s,/@]+:\d+)*")


def is_kafka(url: str) -> bool:
    return url.startswith("kafka://")


def is_postgres(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))


def brokers(url: str) -> list[str]:
    """HOST:PORT of each broker that a kafka: url names."""
    return url.removeprefix("kafka://").rstrip("/").split(",")


def file_of(url: str, folder: Path = Path()) -> Path:
    """The file that a sqlite: url names; from `folder`, where it is relative."""
    return folder / url.removeprefix("sqlite:")


def shown(url: str) -> str:
    """The url without its password and parameters, to show to people."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}" if separator else url


def absolute(config: LogConfig | StoreConfig, folder: Path) -> str:
    """The url of a section, a file's path from the configuration's folder."""
    return f"sqlite:{file_of(config.url, folder)}" if config.url.startswith("sqlite:") else config.url


def kafka_from(kafka: KafkaConfig, folder: Path) -> KafkaConfig:
    """The section, its files' paths from the configuration's folder."""
    named = {name: getattr(kafka, name) for name in ("ca_file", "cert_file", "key_file", "token_file")}
    return structs.replace(kafka, **{name: str(folder / path) for name, path in named.items() if path})


def problems(
    log: LogConfig, kafka: KafkaConfig, names: Mapping[str, str], spill: SpillConfig, store: StoreConfig
) -> Iterator[str]:
    """What of these sections does not fit together."""
    if is_kafka(log.url):
        if not _BROKERS.fullmatch(log.url.removeprefix("kafka://").rstrip("/")):
            yield "log.url must be kafka://HOST:PORT, several with commas"
    else:
        yield from _file_problems("log.url", log.url, "kafka://HOST:PORT")
    if not is_postgres(store.url):
        yield from _file_problems("store.url", store.url, "postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        if file_of(log.url) == file_of(store.url):
            yield "store.url names the file of log.url: they are two files"
    if not is_kafka(log.url) and spill.folder:
        yield "spill.folder: the embedded log cannot be away; a spill is for kafka://"
    if kafka != KafkaConfig() and not is_kafka(log.url):
        yield "kafka: log.url is not kafka://, so nothing there counts"
    yield from _name_problems(names, log)
    yield from _security_problems(kafka)


def _file_problems(path: str, url: str, other: str) -> Iterator[str]:
    scheme, colon, rest = url.partition(":")
    if not colon or scheme != "sqlite" or not rest or rest.startswith("//") or rest == ":memory:":
        yield f"{path} must be sqlite:FILE, with the file's path after the colon, or {other}"


def _name_problems(names: Mapping[str, str], log: LogConfig) -> Iterator[str]:
    if names and not is_kafka(log.url):
        yield "topics: log.url is not kafka://, so nothing there counts"
    for name, called in names.items():
        if name not in topics.ALL:
            yield f"topics.{name}: there is no such topic; there are: {', '.join(topics.ALL)}"
        elif not _TOPIC.fullmatch(called):
            yield f"topics.{name}: a topic's name is made of a-z, A-Z, 0-9, ., _ and -, at most 249"
    every = [names.get(name, name) for name in topics.ALL]
    if twice := {name for name in every if every.count(name) > 1}:
        yield f"topics: {min(twice)} is the name of two topics"


def _security_problems(kafka: KafkaConfig) -> Iterator[str]:
    if kafka.security_protocol.startswith("SASL") != bool(kafka.sasl_mechanism):
        yield "kafka.sasl_mechanism goes with security_protocol SASL_PLAINTEXT or SASL_SSL, and each needs the other"
    if kafka.sasl_mechanism == "OAUTHBEARER":
        if sum(map(bool, (kafka.token, kafka.token_file, kafka.token_url))) != 1:
            yield "kafka: OAUTHBEARER needs one of token, token_file, token_url"
    elif kafka.sasl_mechanism and not (kafka.username and kafka.password):
        yield f"kafka: {kafka.sasl_mechanism} needs username and password"
    if bool(kafka.cert_file) != bool(kafka.key_file):
        yield "kafka.cert_file and kafka.key_file go together"
    if kafka.min_insync_replicas > kafka.replication_factor:
        yield "kafka.min_insync_replicas is more than replication_factor: nothing could be written"
