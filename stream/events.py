"""Segment's events, as processors see them. Facts: Segment docs, spec/common; facts on batches: http-api, "Batch"."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from stream import headers, loose_json, topics
from stream.message import Message
from stream.subjects import content_id, subject, text_id


class _Wire(Struct, rename="camel", gc=False):
    """The fields of any message type. Typed loosely: senders vary, and nothing acknowledged may be lost for a type."""

    type: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    group_id: Any = None
    previous_id: Any = None
    message_id: Any = None
    event: Any = None
    name: Any = None
    category: Any = None
    properties: Any = None
    traits: Any = None
    context: Any = None
    integrations: Any = None
    timestamp: Any = None
    received_at: Any = None
    sent_at: Any = None
    channel: Any = None
    user_id_: Any = msgspec.field(default=None, name="userID")
    user_id_snake: Any = msgspec.field(default=None, name="user_id")


class Event(Struct, gc=False, kw_only=True):
    """One Segment event. Dicts are never None; `time` and `received` are seconds since the epoch.

    `time` orders facts: when it happened, as far as that can be trusted (never later than when we received it).
    `received` is Segment's receivedAt, or ours: the first tie-breaker; `message_id` is the second."""

    type: str
    subject: str
    user_id: str | None
    anonymous_id: str | None
    group_id: str | None
    previous_id: str | None
    message_id: str
    event: str | None
    name: str | None
    category: str | None
    properties: dict[str, Any]
    traits: dict[str, Any]
    context: dict[str, Any]
    integrations: dict[str, Any]
    channel: str | None
    time: float
    received: float
    space: str
    source: str
    path: str
    signed: bool
    authority: str
    message: Message

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
    anonymous_id, group_id = text_id(wire.anonymous_id), text_id(wire.group_id)
    kind = message.topic.rpartition(".")[2]
    message_id = text_id(wire.message_id) or origin.message_id or content_id(origin.source, message.value or b"")
    at, received = _times(wire, origin, kind, ours, common)
    return Event(
        type=kind,
        subject=_subject(origin.space, user_id, anonymous_id, group_id if kind == "group" else None, message_id),
        user_id=user_id,
        anonymous_id=anonymous_id,
        group_id=group_id,
        previous_id=text_id(wire.previous_id),
        message_id=message_id,
        event=_string(wire.event),
        name=_string(wire.name),
        category=_string(wire.category),
        properties=_dict(wire.properties),
        traits=_dict(wire.traits),
        context={**_dict(common.get("context")), **_dict(wire.context)} if common else _dict(wire.context),
        integrations={**_dict(common.get("integrations")), **_dict(wire.integrations)}
        if common
        else _dict(wire.integrations),
        channel=_string(wire.channel),
        time=at,
        received=received,
        space=origin.space,
        source=origin.source,
        path=origin.path,
        signed=origin.signed,
        authority=origin.authority,
        message=message,
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
        return msgspec.convert(found, _Wire) if isinstance(found, dict) else _Wire()


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


def _dict(value: Any) -> dict[str, Any]:
    return value if value.__class__ is dict else {}


def _string(value: Any) -> str | None:
    return value if value.__class__ is str else None


_WIRE = msgspec.json.Decoder(_Wire)
