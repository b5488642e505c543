"""Post: what is known of one request besides its body, as values and as headers."""

from functools import lru_cache

from msgspec import Struct

from stream import headers
from stream.message import Headers

_LONGEST_HEADER = 100


class Post(Struct, frozen=True, kw_only=True):
    """What is known of one request besides its body."""

    source: str
    received: float  # seconds since the epoch
    path: str = "destination"  # or "sdk"
    space: str = ""
    content_type: str = ""
    sender: str = "other"
    signed: bytes | None = None  # the part of the body that carries a valid signature
    trusted: bool = False  # a secret header vouches for the whole request
    kind: str = ""  # the type that the path says; empty: each event says its own


def shared_headers(post: Post, common: bytes = b"") -> Headers:
    """The headers that all messages of a request have; `common` is what its batch says of all its events."""
    origin = _origin(post.source, post.space, post.path, post.sender, post.content_type)
    shared = (*origin, (headers.RECEIVED, b"%.6f" % post.received))
    return (*shared, (headers.COMMON, common)) if common else shared


@lru_cache(256)  # a source's requests are all alike
def _origin(source: str, space: str, path: str, sender: str, content_type: str) -> Headers:
    named = (
        (headers.SOURCE, source),
        (headers.SPACE, space),
        (headers.PATH, path),
        (headers.SENDER, sender),
        (headers.CONTENT_TYPE, content_type),
    )
    return tuple((name, text[:_LONGEST_HEADER].encode("utf-8", "replace")) for name, text in named if text)
