"""Segment's events, as processors see them. Facts: Segment docs, spec/common; facts on batches: http-api, "Batch"."""

import json
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from stream import headers, loose_json, topics
from stream.message import Message
from stream.subjects import content_id, subject, text_id


class _Wire(Struct, rename="camel", gc=False):
    """The fields of any message type. Typed loosely: senders vary, and nothing acknowledged may be lost for a type.

    Objects are cut out and not decoded: they are most of an event, and most processors look at few of them."""

    type: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    group_id: Any = None
    previous_id: Any = None
    message_id: Any = None
    event: Any = None
    name: Any = None
    category: Any = None
    properties: Raw = Raw(b"null")
    traits: Raw = Raw(b"null")
    context: Raw = Raw(b"null")
    integrations: Raw = Raw(b"null")
    timestamp: Any = None
    received_at: Any = None
    sent_at: Any = None
    channel: Any = None
    user_id_: Any = msgspec.field(default=None, name="userID")
    user_id_snake: Any = msgspec.field(default=None, name="user_id")


class Event(Struct, gc=False, kw_only=True):
    """One Segment event. Dicts are never None, and are decoded when they are first asked for; `time` and `received` are
    seconds since the epoch.

    `time` orders facts: when it happened, as far as that can be trusted (never later than when we received it).
    `received` is Segment's receivedAt, or ours: the first tie-breaker; `message_id` is the second. `event` is the name of
    a track, `name` and `category` those of a page or screen; `path` is how it came: destination, sdk or operator."""

    type: str
    subject: str
    user_id: str | None
    anonymous_id: str | None
    message_id: str
    time: float
    received: float
    message: Message
    _wire: _Wire
    _origin: headers.Origin
    _common: dict[str, Any]
    _properties: dict[str, Any] | None = None
    _traits: dict[str, Any] | None = None
    _context: dict[str, Any] | None = None
    _integrations: dict[str, Any] | None = None

    @property
    def event(self) -> str | None:
        return _string(self._wire.event)

    @property
    def name(self) -> str | None:
        return _string(self._wire.name)

    @property
    def category(self) -> str | None:
        return _string(self._wire.category)

    @property
    def group_id(self) -> str | None:
        return text_id(self._wire.group_id)

    @property
    def previous_id(self) -> str | None:
        return text_id(self._wire.previous_id)

    @property
    def channel(self) -> str | None:
        return _string(self._wire.channel)

    @property
    def properties(self) -> dict[str, Any]:
        if self._properties is None:
            self._properties = _object(self._wire.properties)
        return self._properties

    @property
    def traits(self) -> dict[str, Any]:
        if self._traits is None:
            self._traits = _object(self._wire.traits)
        return self._traits

    @property
    def context(self) -> dict[str, Any]:
        """With that of its batch (SDKs), where its own does not say otherwise."""
        if self._context is None:
            self._context = {**_dict(self._common.get("context")), **_object(self._wire.context)}
        return self._context

    @property
    def integrations(self) -> dict[str, Any]:
        """With those of its batch (SDKs), where its own do not say otherwise."""
        if self._integrations is None:
            self._integrations = {**_dict(self._common.get("integrations")), **_object(self._wire.integrations)}
        return self._integrations

    @property
    def space(self) -> str:
        return self._origin.space

    @property
    def source(self) -> str:
        return self._origin.source

    @property
    def path(self) -> str:
        return self._origin.path

    @property
    def signed(self) -> bool:
        return self._origin.signed

    @property
    def authority(self) -> str:
        return self._origin.authority

    @property
    def user(self) -> str | None:
        """The user's subject, where the event names one."""
        return subject(self.space, "user", self.user_id) if self.user_id else None

    @property
    def anonymous(self) -> str | None:
        """The anonymous subject, where the event names one."""
        return subject(self.space, "anon", self.anonymous_id) if self.anonymous_id else None

    @property
    def group(self) -> str | None:
        """The group's subject, where the event names one (Segment's group call)."""
        return subject(self.space, "group", self.group_id) if self.group_id else None

    @property
    def stamp(self) -> tuple[float, float, str]:
        """What orders two values of one register: event time, then receivedAt, then messageId."""
        return (self.time, self.received, self.message_id)


def decode(message: Message, taken: float = 0.0) -> Event:
    """The event in a raw message; `taken` (when the log took it) stands in for a missing received header.

    Never raises for bytes that the receiver routed: what msgspec cannot take (1e999, lone surrogates) is read as
    JavaScript would, with U+FFFD for a lone surrogate and null for an infinity.
    """
    origin = headers.read(message.headers)
    wire = _decode_wire(message.value or b"{}")
    common = _common(origin.common)
    ours = origin.received or taken
    user_id = text_id(wire.user_id) or text_id(wire.user_id_) or text_id(wire.user_id_snake)  # facts §1.10
    anonymous_id = text_id(wire.anonymous_id)
    kind = message.topic.rpartition(".")[2]
    message_id = text_id(wire.message_id) or origin.message_id or content_id(origin.source, message.value or b"")
    group_id = text_id(wire.group_id) if kind == "group" else None
    at, received = _times(wire, origin, kind, ours, common)
    return Event(
        type=kind,
        subject=_subject(origin.space, user_id, anonymous_id, group_id, message_id),
        user_id=user_id,
        anonymous_id=anonymous_id,
        message_id=message_id,
        time=at,
        received=received,
        message=message,
        _wire=wire,
        _origin=origin,
        _common=common,
    )


def parse_time(value: Any) -> float | None:
    """Seconds since the epoch of an ISO 8601 timestamp (no zone: UTC); None for anything else."""
    if value.__class__ is not str:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is None:
            parsed = datetime.fromisoformat(value + "+00:00")
        return parsed.timestamp()
    except (ValueError, OverflowError):
        return None


def _times(wire: _Wire, origin: headers.Origin, kind: str, ours: float, common: dict[str, Any]) -> tuple[float, float]:
    """Event time and receivedAt (design: a client's clock cannot reach into the future; a delete's time is ours)."""
    stamp = parse_time(wire.timestamp)
    if origin.path == "sdk":
        sent = parse_time(wire.sent_at) or parse_time(common.get("sentAt"))
        at = ours if stamp is None else stamp if sent is None else ours - (sent - stamp)
        return min(at, ours), ours
    received = parse_time(wire.received_at)
    if received is None:
        received = ours
    if kind == topics.TYPES[-1]:
        return ours, received
    return min(received if stamp is None else stamp, received, ours), received


def _decode_wire(value: bytes) -> _Wire:
    try:
        return _WIRE.decode(value)
    except (msgspec.DecodeError, RecursionError):
        found = loose_json.read(value)
        return _WIRE.decode(json.dumps(found)) if isinstance(found, dict) else _Wire()


def _common(value: bytes | None) -> dict[str, Any]:
    if not value:
        return {}
    found = loose_json.read(value)
    return found if isinstance(found, dict) else {}


def _subject(space: str, user: str | None, anonymous: str | None, group: str | None, message_id: str) -> str:
    if user:
        return subject(space, "user", user)
    if anonymous:
        return subject(space, "anon", anonymous)
    return subject(space, "group", group) if group else subject(space, "message", message_id)


def _object(raw: Raw) -> dict[str, Any]:
    try:
        return _dict(_ANY.decode(raw))
    except (msgspec.DecodeError, RecursionError):
        return _dict(loose_json.read(bytes(raw)))


def _dict(value: Any) -> dict[str, Any]:
    return value if value.__class__ is dict else {}


def _string(value: Any) -> str | None:
    return value if value.__class__ is str else None


_WIRE = msgspec.json.Decoder(_Wire)
_ANY = msgspec.json.Decoder()
