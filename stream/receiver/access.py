"""Who may post what, as the configuration says it. Decides; answers nothing."""

import base64
import binascii
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, Literal

from msgspec import Struct

from stream.config import Config, ReceiverConfig, SourceConfig
from stream.core import signature
from stream.errors import ConfigError

DEFAULT_SOURCE: Final = "segment"  # what comes in at /segment
ANY_SDK: Final = "sdk"  # what comes in with any write key, before one is configured

Asked = Literal["anything", "signature", "header", "signature and header", "nothing"]
"""What a destination path takes: requests that carry this; whatever comes; or nothing, since none is configured."""

_EVERY_INTERFACE: Final = "0.0.0.0"
_LOOPBACK: Final = "127.0.0.1"


class Door(Struct, frozen=True):
    """Where one source comes in, and what it must show there."""

    source: str
    space: str = ""
    secrets: tuple[str, ...] = ()
    header: tuple[str, str] | None = None  # name and value
    open: bool = False  # nothing is asked for: only ever on loopback

    def trusts(self, headers: Mapping[str, str]) -> bool:
        """Whether a configured secret header is there."""
        return self.header is not None and signature.same(headers.get(self.header[0], ""), self.header[1])

    def signed_part(self, body: bytes, headers: Mapping[str, str]) -> bytes | None:
        """The part of the body that carries a valid signature, if one does."""
        given = headers.get("X-Signature", "")
        return signature.signed_part(body, given, self.secrets) if given and self.secrets else None

    def admits(self, signed: bytes | None, trusted: bool) -> bool:
        """Whether a request with this signed part and this trust may come in at a destination path."""
        asks = bool(self.secrets or self.header)
        return self.open or (asks and (signed is not None or not self.secrets) and (trusted or self.header is None))

    @property
    def asked(self) -> Asked:
        """The least that a request must show to be admitted at a destination path."""
        tries: tuple[tuple[Asked, bytes | None, bool], ...] = (
            ("anything", None, False),
            ("signature", b"", False),
            ("header", None, True),
            ("signature and header", b"", True),
        )
        return next((asked for asked, signed, trusted in tries if self.admits(signed, trusted)), "nothing")


class Access:
    """All doors of a receiver."""

    def __init__(self, config: Config) -> None:
        loopback = _is_loopback(listen_host(config))
        unsigned = loopback and not _has_secret(config)
        self._destinations = {DEFAULT_SOURCE: _door(DEFAULT_SOURCE, config.receiver, "", unsigned)}
        for name, source in config.sources.items():
            self._destinations[name] = _door(name, source, source.space, unsigned)
        self._keys = {
            source.write_key: _door(name, source, source.space, False)
            for name, source in config.sources.items()
            if source.write_key
        }
        self._any_key = Door(ANY_SDK, open=True) if unsigned and not self._keys else None

    def asked(self) -> dict[str, Asked]:
        """What each destination path takes."""
        doors = self._destinations.items()
        return {f"/segment/{n}" if n != DEFAULT_SOURCE else "/segment": door.asked for n, door in doors}

    def keyed(self) -> str:
        """What the SDK paths take, in words."""
        if self._any_key:
            return "any write key: this machine only"
        return "a source's write key" if self._keys else "closed: no source has a write_key"

    def destination(self, name: str) -> Door | None:
        """The door at /segment/NAME."""
        return self._destinations.get(name)

    def write_key(self, *keys: str) -> Door | None:
        """The door of the first of these write keys that is one."""
        found = (self._keys[key] for key in keys if key in self._keys)
        return next(found, self._any_key)


def listen_host(config: Config) -> str:
    """Where to listen. Raises ConfigError where anybody could post: not on loopback, and nothing asked for."""
    host = config.receiver.host or (_EVERY_INTERFACE if _has_secret(config) else _LOOPBACK)
    keyed = any(source.write_key for source in config.sources.values())
    if not _is_loopback(host) and not keyed and not _has_secret(config):
        raise ConfigError(
            f"receiver.host is {host}, where anybody can post, and no secret is configured: set receiver.secrets "
            "(Segment's shared secret) or receiver.require_header, or leave receiver.host out to listen on loopback"
        )
    return host


def basic_key(authorization: str) -> str:
    """The write key in an Authorization header: base64 of `key:`, with or without the colon; "" if there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip()).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def _door(name: str, section: ReceiverConfig | SourceConfig, space: str, unsigned: bool) -> Door:
    header, _, value = section.require_header.partition(":")
    return Door(name, space, section.secrets, (header, value.strip()) if header else None, unsigned)


def _has_secret(config: Config) -> bool:
    sections: tuple[ReceiverConfig | SourceConfig, ...] = (config.receiver, *config.sources.values())
    return any(section.secrets or section.require_header for section in sections)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
