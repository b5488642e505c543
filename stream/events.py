"""Segment's events, as processors see them. Facts: Segment docs, spec/common; facts on batches: http-api, "Batch"."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

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


class Event:
    """One Segment event. Each attribute is read from the message when it is first asked for, since most processors look
    at little of an event. Raises what reading raises for bytes that no receiver routed (ValueError, RecursionError).

    What msgspec cannot take (1e999, lone surrogates) is read as JavaScript would, with U+FFFD for a lone surrogate and
    null for an infinity."""

    message: Message
    type: str
    subject: str
    user_id: str | None
    anonymous_id: str | None
    group_id: str | None
    previous_id: str | None
    message_id: str
    event: str | None  # the name of a track
    name: str | None  # of a page or screen
    category: str | None
    properties: dict[str, Any]  # none of the dicts is ever None
    traits: dict[str, Any]
    context: dict[str, Any]
    integrations: dict[str, Any]
    channel: str | None
    time: float  # orders facts: when it happened, as far as that can be trusted; never later than when we received it
    received: float  # Segment's receivedAt, or ours: the first tie-breaker; message_id is the second
    space: str
    source: str
    path: str  # destination, sdk or operator
    signed: bool
    authority: str

    def __init__(self, message: Message, taken: float) -> None:
        self.message = message
        self._taken = taken

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

    def may_say(self, *names: bytes) -> bool:
        """False only if none of these names stands anywhere in the event: then there is nothing to read. Far cheaper
        than reading, for a processor that few events concern."""
        value = self.message.value or b""
        for name in names:
            if name in value:
                return True
        # An escape can spell any name, and what an SDK's batch says of all its events is beside the bytes.
        return b"\\u" in value or any([name == headers.COMMON for name, _ in self.message.headers])

    if not TYPE_CHECKING:  # for a type checker there are the attributes above, and no others

        def __getattr__(self, name: str) -> Any:
            """Called for what is not there yet; it is, from then on."""
            if name not in _READ:
                raise AttributeError(f"an event has no {name}")
            _READ[name](self)
            return object.__getattribute__(self, name)  # self.__dict__ would be made for it, and slow all that follows


def decode(message: Message, taken: float = 0.0) -> Event:
    """The event in a raw message; `taken` (when the log took it) stands in for a missing received header."""
    return Event(message, taken)


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


def _open(event: Any) -> None:
    message: Message = event.message
    event._origin = origin = headers.read(message.headers)
    event._wire = wire = _decode_wire(message.value or b"{}")
    event._common = _common(origin.common)
    event.space, event.type = origin.space, message.topic.rpartition(".")[2]
    event.user_id = text_id(wire.user_id) or text_id(wire.user_id_) or text_id(wire.user_id_snake)  # facts §1.10
    event.anonymous_id, event.group_id = text_id(wire.anonymous_id), text_id(wire.group_id)
    event.message_id = text_id(wire.message_id) or origin.message_id or content_id(origin.source, message.value or b"")
    event.event = _string(wire.event)
    event.subject = _subject(event)


def _subject(event: Event) -> str:
    if event.user_id:
        return subject(event.space, "user", event.user_id)
    if event.anonymous_id:
        return subject(event.space, "anon", event.anonymous_id)
    if event.group_id and event.type == "group":
        return subject(event.space, "group", event.group_id)
    return subject(event.space, "message", event.message_id)


def _time(event: Any) -> None:
    """Event time and receivedAt (design: a client's clock cannot reach into the future; a delete's time is ours)."""
    wire, origin = event._wire, event._origin
    ours = origin.received or event._taken
    stamp = parse_time(wire.timestamp)
    if origin.path == "sdk":
        sent = parse_time(wire.sent_at) or parse_time(event._common.get("sentAt"))
        at = ours if stamp is None else stamp if sent is None else ours - (sent - stamp)
        event.time, event.received = ours if event.type == topics.TYPES[-1] else min(at, ours), ours
        return
    received = parse_time(wire.received_at)
    if received is None:
        received = ours
    event.received = received
    event.time = ours if event.type == topics.TYPES[-1] else min(received if stamp is None else stamp, received, ours)


def _read_context(event: Any) -> None:
    own = _object(event._wire.context)
    event.context = {**_dict(event._common.get("context")), **own} if event._common else own


def _read_integrations(event: Any) -> None:
    own = _object(event._wire.integrations)
    event.integrations = {**_dict(event._common.get("integrations")), **own} if event._common else own


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


def _set(name: str, read: Callable[[Any], Any]) -> Callable[[Any], None]:
    return lambda event: setattr(event, name, read(event))


_READ: dict[str, Callable[[Any], None]] = {
    **dict.fromkeys(("_wire", "_origin", "_common", "space", "type", "event", "message_id"), _open),
    **dict.fromkeys(("user_id", "anonymous_id", "group_id", "subject"), _open),
    **dict.fromkeys(("time", "received"), _time),
    "context": _read_context,
    "integrations": _read_integrations,
    "properties": _set("properties", lambda event: _object(event._wire.properties)),
    "traits": _set("traits", lambda event: _object(event._wire.traits)),
    "name": _set("name", lambda event: _string(event._wire.name)),
    "category": _set("category", lambda event: _string(event._wire.category)),
    "channel": _set("channel", lambda event: _string(event._wire.channel)),
    "previous_id": _set("previous_id", lambda event: text_id(event._wire.previous_id)),
    "source": _set("source", lambda event: event._origin.source),
    "path": _set("path", lambda event: event._origin.path),
    "signed": _set("signed", lambda event: event._origin.signed),
    "authority": _set("authority", lambda event: event._origin.authority),
}
"""Attribute → what sets it, together with what costs no more."""
