"""stream person --export: everything that is known of a person, for an access request."""

import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from stream.cli import message
from stream.cli.about import Found
from stream.config import Config, ReceiverConfig, SourceConfig
from stream.snapshot import Snapshot
from stream.store import Held, Store

_WRITE_KEY = re.compile(rb'("writeKey"\s*:\s*)"(?:[^"\\]|\\.)*"')
_GONE = b"[removed]"


class HeldWhole(Struct, frozen=True):
    """A held delivery of the person, with the message as it was received."""

    id: int
    processor: str
    reason: str
    trace: str
    since: float
    message: message.Shown
    edited: str | None


class Audited(Struct, frozen=True):
    """Who looked at the person's data, or changed it, when."""

    time: float
    who: str
    what: str


class Everything(Struct, frozen=True):
    """All that the store holds of one person. Times are seconds since the epoch. Messages as received lie in the log
    for `log_retention_days` besides; `stream tail TOPIC --person ID --since 2000-01-01` shows them."""

    exported: float
    found: Found
    rows: dict[str, dict[str, Any]]
    tombstones: dict[str, float]
    held: list[HeldWhole]
    audit: list[Audited]
    log_retention_days: float


async def everything(store: Store, config: Config, found: Found, snapshot: Snapshot) -> Everything:
    """All of it, with the secrets of the configuration taken out of what was received."""
    hashes = sorted(store.people.hash(subject) for subject in found.subjects)
    return Everything(
        exported=time.time(),
        found=found,
        rows=snapshot.rows(found.key),
        tombstones=snapshot.of(found.subject).tombstones,
        held=[_held(one, _secrets(config)) for one in await store.held.of(found.subjects)],
        audit=[Audited(at, who, what) for h in hashes for at, who, what, _ in await store.requests.audit(h)],
        log_retention_days=config.log.retention_days,
    )


def write(file: Path, whole: Everything) -> None:
    """Writes it where only this user can read it. Raises ClickException if it cannot, or if there is such a file."""
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")
    except FileExistsError:
        raise click.ClickException(f"{file} exists already: name another file") from None
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None


def _held(one: Held, secrets: Collection[bytes]) -> HeldWhole:
    received = one.delivery.message
    value = None if received.value is None else _cleaned(received.value, secrets)
    cleaned = msgspec.structs.replace(one.delivery, message=msgspec.structs.replace(received, value=value))
    return HeldWhole(
        id=one.id,
        processor=one.processor,
        reason=one.reason,
        trace=one.trace,
        since=one.since,
        message=message.show(cleaned),
        edited=None if one.edited is None else message.text_of(_cleaned(one.edited, secrets))[0],
    )


def _cleaned(value: bytes, secrets: Collection[bytes]) -> bytes:
    """An SDK's request carries its write key, and a copy of it in somebody's hands is a way in."""
    value = _WRITE_KEY.sub(rb'\1"' + _GONE + b'"', value)
    for secret in secrets:
        value = value.replace(secret, _GONE)
    return value


def _secrets(config: Config) -> set[bytes]:
    sections: list[ReceiverConfig | SourceConfig] = [config.receiver, *config.sources.values()]
    found = {secret for section in sections for secret in section.secrets}
    found |= {section.require_header.partition(":")[2].strip() for section in sections}
    found |= {source.write_key for source in config.sources.values()}
    return {secret.encode() for secret in found if secret}
