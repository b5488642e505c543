"""Bytes in → messages to append: every event to the topic of its type, in the bytes it came in, or to segment.invalid
with the reason. Decodes only what it routes by, re-encodes nothing, never raises."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from stream import headers, loose_json, subjects, topics
from stream.core import cut
from stream.core.post import Post, shared_headers
from stream.message import Headers, Message

MALFORMED: Final = ("empty", "not_json", "not_utf8", "not_an_object", "no_type", "too_deep", "bad_encoding")
"""Reasons why a body is no event at all."""

_BATCHES: Final = ("batch_in_batch", "empty_batch", "too_many_events", "too_much_context")
ODD: Final = ("unknown_type", "unauthentic_delete", *_BATCHES)
"""Reasons why what is an event, or a batch, is kept in segment.invalid all the same."""

# A batch's context and integrations go beside each of its events. Segment's limit for a whole event is 32 KB.
_MOST_COMMON = 32 * 1024
_MOST_COPIES = 16 * 1024 * 1024  # of them, beside all events of a batch: a small body must not become a huge append


class Limits(Struct, frozen=True):
    """What is too much: events in a batch, brackets within brackets in an event."""

    events: int
    depth: int


class Opened(Struct, frozen=True):
    """What to append. `reason` says why the body is kept whole in segment.invalid, if it is."""

    messages: list[Message]
    reason: str | None = None


def open_body(body: bytes, post: Post, limits: Limits) -> Opened:
    """The messages in a request: a single event, a JSON array (of events, or of Extensible's `{"json": …}`), or an
    SDK's `{"batch": […]}`. At least one, each with the headers of stream/headers.py."""
    first = cut.start(body)
    if first == b"[" and not post.kind:
        return _Opening(body, post, limits).batch(body)
    if first == b"{" and not post.kind and b'"batch"' in body:
        top = cut.top(body)
        if not top.type and cut.start(bytes(top.batch)) == b"[":
            return _open_sdk_batch(body, top, post, limits)
    return _Opening(body, post, limits).single()


def keep_whole(body: bytes, post: Post, reason: str) -> Opened:
    """A body that cannot even be opened, for segment.invalid."""
    return _Opening(body, post, Limits(0, 0)).whole(reason)


def again(message: Message, limits: Limits) -> list[Message]:
    """The messages in one of segment.invalid, opened anew (after a fix). Where it came from stays as it was."""
    origin, value = headers.read(message.headers), message.value or b""
    post = Post(
        source=origin.source,
        received=origin.received,
        path=origin.path,
        space=origin.space,
        content_type=origin.content_type,
        sender=origin.sender,
        signed=value if origin.signed else None,
        kind=origin.type,
    )
    if origin.index is None:
        return open_body(value, post, limits).messages
    opening = _Opening(value, post, limits, origin.common or b"")
    return [opening.message(value, origin.signed, origin.index)]


class _Invalid(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason


class _Route(Struct, rename="camel", gc=False):
    """What an event is routed by, typed loosely."""

    type: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    group_id: Any = None
    message_id: Any = None
    user_id_: Any = msgspec.field(default=None, name="userID")
    user_id_snake: Any = msgspec.field(default=None, name="user_id")


class _Opening:
    """One request, being opened: what all its messages share is made once."""

    def __init__(self, body: bytes, post: Post, limits: Limits, common: bytes = b"") -> None:
        self._body, self._post, self._limits = body, post, limits
        self._utf8 = _is_utf8(body)
        self._copied = len(common)
        self._shared = shared_headers(post, common)

    def single(self) -> Opened:
        signed = self._post.signed == self._body
        if not self._body.strip(cut.WHITESPACE):
            return self.whole("empty")
        try:
            message = self._routed(self._body, (*self._shared, _SIGNED[signed]), signed)
        except _Invalid as invalid:
            return self.whole(invalid.reason)
        return Opened([message])

    def batch(self, array: bytes) -> Opened:
        """The events of an array; all of them are signed where the whole body is, otherwise element 0 may be."""
        found = cut.elements(array, self._limits.events + 1)
        if not found or len(found) > self._limits.events:
            return self.whole("too_many_events" if found else "empty_batch")
        if len(found) * self._copied > _MOST_COPIES:
            return self.whole("too_much_context")
        signed = self._post.signed
        whole = signed == self._body and array is not self._body
        messages = [self.message(element, whole, index) for index, element in enumerate(found)]
        if signed is not None and signed in (found[0], cut.unwrapped(found[0])):
            messages[0] = self.message(found[0], True, 0)
        return Opened(messages)

    def message(self, value: bytes, signed: bool, index: int) -> Message:
        """One element of a batch."""
        known = (*self._shared, _SIGNED[signed], (headers.INDEX, b"%d" % index))
        try:
            return self._routed(value, known, signed)
        except _Invalid as invalid:
            reason = invalid.reason
        inner = cut.unwrapped(value)
        try:
            return self._routed(inner, known, signed) if inner else self._kept(value, known, _nested(value) or reason)
        except _Invalid as invalid:
            return self._kept(value, known, invalid.reason)

    def whole(self, reason: str) -> Opened:
        signed = self._post.signed is not None and self._post.signed == self._body
        return Opened([self._kept(self._body, (*self._shared, _SIGNED[signed]), reason)], reason)

    def _routed(self, value: bytes, known: Headers, signed: bool) -> Message:
        if not self._utf8 and not _is_utf8(value):
            raise _Invalid("not_utf8")
        if cut.deeper(value, self._limits.depth):
            raise _Invalid("too_deep")
        route = _decode(value)
        kind = self._post.kind or route.type
        topic = topics.RAW.get(kind) if kind.__class__ is str else None
        if topic is None:
            raise _Invalid("no_type" if kind is None else "unknown_type")
        if kind == "delete" and not (signed or self._post.trusted):
            raise _Invalid("unauthentic_delete")
        message_id = subjects.text_id(route.message_id)
        if message_id is None:
            message_id = subjects.content_id(self._post.source, value)
            known = (*known, (headers.MESSAGE_ID, message_id.encode()))
        return Message(topic, (_identifier(route, kind) or message_id).encode(), value, known)

    def _kept(self, value: bytes, known: Headers, reason: str) -> Message:
        key = subjects.content_id(self._post.source, value).encode()
        if self._post.kind:
            known = (*known, (headers.TYPE, self._post.kind.encode()))
        return Message(topics.INVALID, key, value, (*known, (headers.REASON, reason.encode())))


def _open_sdk_batch(body: bytes, top: cut.Top, post: Post, limits: Limits) -> Opened:
    parts = (("context", top.context), ("integrations", top.integrations), ("sentAt", top.sent_at))
    common = b",".join(b'"%b":%b' % (name.encode(), bytes(raw)) for name, raw in parts if raw)
    common = b"{%b}" % common if common else b""
    if len(common) > _MOST_COMMON:
        return keep_whole(body, post, "too_much_context")
    if not _readable(common or b"{}"):
        return keep_whole(body, post, "not_json" if _is_utf8(common) else "not_utf8")
    return _Opening(body, post, limits, common).batch(bytes(top.batch))


def _decode(value: bytes) -> _Route:
    try:
        return _ROUTE.decode(value)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        found = loose_json.read(value)
    except ValueError:
        raise _Invalid("not_json") from None
    except RecursionError:
        raise _Invalid("too_deep") from None
    if not isinstance(found, dict):
        raise _Invalid("not_an_object")
    return msgspec.convert(found, _Route)


def _identifier(route: _Route, kind: str) -> str | None:
    """As events.decode finds the subject: key and subject name the same one."""
    text = subjects.text_id
    return (
        text(route.user_id)
        or text(route.user_id_)
        or text(route.user_id_snake)
        or text(route.anonymous_id)
        or (text(route.group_id) if kind == "group" else None)
    )


def _nested(element: bytes) -> str | None:
    inside = cut.start(element) == b"[" or (cut.start(element) == b"{" and cut.top(element).batch)
    return "batch_in_batch" if inside else None


def _readable(value: bytes) -> bool:
    try:
        loose_json.read(value)
    except (ValueError, RecursionError):
        return False
    return True


def _is_utf8(value: bytes) -> bool:
    try:
        str(value, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


_SIGNED = ((headers.SIGNED, b"0"), (headers.SIGNED, b"1"))
_ROUTE = msgspec.json.Decoder(_Route)
