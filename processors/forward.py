"""Forwards raw events to a URL, byte for byte as they were received, signed as Segment signs (facts §1.1).

[processors.forward.NAME] is one forward, called forward.NAME: a consumer group of its own, so that a dead receiver
delays nobody else.
"""

import hashlib
import hmac
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from stream import toml
from stream.connector import Flow, Request
from stream.core import filters
from stream.errors import ConfigError, Skip
from stream.events import Event
from stream.processor import Processor, Reactor
from stream.sending import Http
from stream.topics import TYPES


class Settings(Struct, frozen=True):
    """[processors.forward.NAME]."""

    url: str
    secret: str = ""  # signs the body: X-Signature, hex HMAC-SHA1, as Segment's own destinations do
    headers: dict[str, str] = {}  # added to every request
    types: tuple[str, ...] = TYPES[:-1]  # the message types that it forwards
    where: dict[str, Any] = {}  # only events that this filter lets through
    purpose: str = "internal"  # the consent that it needs


class Forward(Reactor):
    """One forward. The bytes are the very ones that were received; only the signature is ours."""

    def __init__(self, name: str, http: Http, settings: Settings) -> None:
        self.name, self.topics, self.purposes = name, settings.types, (settings.purpose,)
        self._http, self._settings = http, settings
        self._meant = filters.compiled(f"processors.{name}.where", settings.where) if settings.where else None

    async def handle(self, event: Event) -> None:
        """Posts the event, unless the filter leaves it out."""
        if self._meant is not None and not self._meant(event):
            raise Skip("filtered")
        gives = event.type != "delete"
        await self._http.run(self._post(event), about=event.subject, purpose=self._settings.purpose, gives=gives)

    def _post(self, event: Event) -> Flow[None]:
        body, settings = event.message.value or b"", self._settings
        given = {"Content-Type": "application/json", **settings.headers}
        if settings.secret:
            given["X-Signature"] = hmac.new(settings.secret.encode(), body, hashlib.sha1).hexdigest()
        secrets = tuple(value for value in (settings.secret, *settings.headers.values()) if value)
        yield Request(
            destination=self.name,
            method="POST",
            url=settings.url,
            headers=given,
            body=body,
            secrets=secrets,
            repeatable=False,
        )


def build(app: Any, settings: dict[str, Any]) -> list[Processor]:
    """[processors.forward]: a table for each forward."""
    return [_forward(app, f"forward.{name}", table) for name, table in settings.items()]


def _forward(app: Any, name: str, table: Any) -> Forward:
    path = f"processors.{name}"
    rest = app.destination(name, app.lanes(name, table))
    if "url" not in rest:
        raise ConfigError(f"{path}.url is missing: where are its events posted to?")
    found = toml.struct(path, rest, Settings)
    at = urlsplit(found.url)
    if at.scheme not in ("http", "https") or not at.hostname:
        raise ConfigError(f"{path}.url must be http://… or https://…")
    if unknown := set(found.types) - set(TYPES):
        raise ConfigError(f"{path}.types: {min(unknown)} is no message type; allowed: {', '.join(TYPES)}")
    return Forward(name, app.http, found)
