"""Realistic events: Segment's own example of a track (docs, partners spec), 20,000 people at random."""

import json
import random
from collections.abc import Iterator

from msgspec import Struct

from stream import topics
from stream.core import signature
from stream.message import Message

PEOPLE = 20_000
SECRET = "a-shared-secret"
NAMES = ("Registered", "Order Completed", "Product Viewed", "Cart Viewed", "Signed In")


class Mix(Struct, frozen=True):
    """What is sent: from which number on, which share are identifies that change a trait, whether an event names
    its anonymous id too, as a browser's do, and which share enter an audience that nobody else enters."""

    first: int = 0
    identifies: float = 0.0
    linked: bool = False
    seed: int = 1
    enters: float = 0.0


def events(mix: Mix, count: int) -> Iterator[tuple[str, str, bytes]]:
    """Type, userId and bytes of `count` events; 850 to 900 bytes each, no two alike."""
    chance = random.Random(mix.seed * 1_000_003 + mix.first)
    for number in range(mix.first, mix.first + count):
        user = f"user-{chance.randrange(PEOPLE)}"
        fields = {
            b"user": user.encode(),
            b"anonymous": b'"anonymous-%b"' % user.encode() if mix.linked else b"null",
            b"number": number,
            b"at": b"%02d:%02d:%02d.%03d" % _time(number),
            b"event": NAMES[number % len(NAMES)].encode(),
        }
        drawn = chance.random()
        if drawn < mix.identifies:
            yield "identify", user, _IDENTIFY % fields
        elif drawn < mix.identifies + mix.enters:
            yield "identify", user, _ENTER % fields
        else:
            yield "track", user, _TRACK % fields


def messages(mix: Mix, count: int) -> Iterator[Message]:
    """The same events as the receiver writes them."""
    for kind, user, value in events(mix, count):
        yield Message(topics.RAW[kind], user.encode(), value, _HEADERS)


def requests(mix: Mix, count: int, batch: int = 1) -> list[bytes]:
    """The same events as signed HTTP requests, ready to be written to a socket: `count` of them, of `batch` events."""
    values = [value for _, _, value in events(mix, count * batch)]
    return [_request(values[start : start + batch], batch > 1) for start in range(0, len(values), batch)]


def _request(values: list[bytes], array: bool) -> bytes:
    body = b"[" + b",".join(values) + b"]" if array else values[0]
    return _HTTP % (signature.sign(values[0], SECRET).encode(), len(body), body)


_CONTEXT = {
    "ip": "67.160.210.48",
    "library": {"name": "analytics.js", "version": "3.8.2"},
    "page": {
        "path": "/index.html", "referrer": "", "search": "", "title": "", "url": "https://example.com/index.html",
    },
    "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_5) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/75.0.3770.90 Safari/537.36",
}  # fmt: skip
_ENVELOPE = {
    "_metadata": {"bundled": ["Segment.io"], "unbundled": ["Facebook Pixel"]},
    "anonymousId": "@anonymous",
    "channel": "client",
    "context": _CONTEXT,
    "integrations": {},
    "messageId": "ajs-920a8b6591f0d25cc117fb7%(number)09d",
    "originalTimestamp": "2019-06-21T%(at)bZ",
    "projectId": "P0OJ3CTID1",
    "receivedAt": "2019-06-21T%(at)bZ",
    "sentAt": "2019-06-21T%(at)bZ",
    "timestamp": "2019-06-21T%(at)bZ",
    "userId": "%(user)b",
    "version": 2,
}


def _template(**fields: object) -> bytes:
    text = json.dumps({**_ENVELOPE, **fields}, separators=(",", ":")).encode()
    return (
        text.replace(b'"@anonymous"', b"%(anonymous)b")
        .replace(b'"@number"', b"%(number)d")
        .replace(b"@list", b"list_%(number)d")
    )


def _time(number: int) -> tuple[int, int, int, int]:
    seconds, thousandths = divmod(number, 1_000)
    return 12 + seconds // 3_600, seconds // 60 % 60, seconds % 60, thousandths


_TRACK = _template(
    type="track",
    event="%(event)b",
    properties={"accountType": "Facebook", "plan": "Pro Annual", "order": "@number", "items": [1, 2, 3], "total": 3.5},
)
_IDENTIFY = _template(type="identify", traits={"email": "%(user)b@example.com", "logins": "@number", "plan": "premium"})
_ENTER = _template(
    type="identify",
    context={
        "personas": {
            "computation_class": "audience", "computation_id": "aud_1", "computation_key": "@list",
            "namespace": "spa_1", "space_id": "spa_1",
        }
    },
    traits={"email": "%(user)b@example.com", "@list": True},
)  # fmt: skip
_HEADERS = (
    ("source", b"segment"),
    ("received", b"1563000000.123456"),
    ("content-type", b"application/json"),
    ("sender", b"classic"),
    ("path", b"destination"),
    ("signed", b"1"),
)
_HTTP = (
    b"POST /segment HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Segment.io/1.0\r\nContent-Type: application/json\r\n"
    b"X-Signature: %b\r\nContent-Length: %d\r\n\r\n%b"
)
