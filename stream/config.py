"""stream.toml as frozen structs."""

from typing import Any, Literal

from msgspec import Struct, field


class ReceiverConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[receiver]: where Segment and its SDKs post to, and what is too much."""

    host: str = ""  # empty: every interface with a secret, loopback without one
    port: int = 8080
    secrets: tuple[str, ...] = ()  # of /segment; one, or two while rotating
    require_header: str = ""  # "Name: value" that every request to /segment must carry
    on_bad_signature: Literal["retry", "reject"] = "retry"
    on_unknown_write_key: Literal["retry", "reject"] = "retry"
    max_body_bytes: int = 8 * 1024 * 1024  # inflated
    max_batch_events: int = 5_000
    max_depth: int = 200
    max_in_flight: int = 1_000
    body_timeout_s: float = 10.0


class SourceConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[sources.NAME]: one Segment source. /segment/NAME, and the SDK paths with its write key."""

    secrets: tuple[str, ...] = ()
    write_key: str = ""
    require_header: str = ""
    space: str = ""


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[log]: where messages are kept."""

    url: str = "sqlite:data/log.db"
    partitions: int = 4
    retention_days: float = 14.0
    retention_bytes: int = 0  # 0: no bound
    queue_bytes: int = 64 * 1024 * 1024


class StoreConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[store]: where state is kept."""

    url: str = "sqlite:data/state.db"


class IdentityConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[identity]: which identifiers are one person."""

    alias: bool = False  # Segment's Unify does not merge on alias
    max_links: int = 25  # a subject with more counts as shared and links nobody
    never_link: tuple[str, ...] = ("", "null", "undefined", "anonymous", "0", "-1")


class PublishConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[publish]: what is written for others to read."""

    profile: bool = False  # person.profile beside person.changed


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. No file at all is this struct's defaults with the four built-in projections."""

    receiver: ReceiverConfig = ReceiverConfig()
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    log: LogConfig = LogConfig()
    store: StoreConfig = StoreConfig()
    identity: IdentityConfig = IdentityConfig()
    publish: PublishConfig = PublishConfig()
    processors: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"profiles": {}, "audiences": {}, "consent": {}, "deletion": {}}
    )
