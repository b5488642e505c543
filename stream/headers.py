"""The headers of a raw message: what the receiver knew of it that its bytes do not say."""

from functools import lru_cache
from typing import Final

from msgspec import Struct

from stream.message import Headers

SOURCE: Final = "source"  # name of the source in the configuration
SPACE: Final = "space"  # identity scope of the source; absent: the default one
RECEIVED: Final = "received"  # when we received the request, seconds since the epoch, 6 decimals
CONTENT_TYPE: Final = "content-type"  # as the sender gave it
SIGNED: Final = "signed"  # b"1": these very bytes carry a valid signature; b"0": they do not
INDEX: Final = "index"  # place in the batch, from 0; absent: came alone
SENDER: Final = "sender"  # family of the sender: classic, actions, functions, sdk name, other
PATH: Final = "path"  # b"destination", b"sdk" or b"operator": who may say what (design: deletes, context.personas)
MESSAGE_ID: Final = "message-id"  # only where the event has none: a hash of source and bytes
COMMON: Final = "batch"  # only in SDK batches: JSON of the batch's top-level context, integrations, sentAt
TYPE: Final = "type"  # only in segment.invalid: the type that the path said (/v1/track)
REASON: Final = "reason"  # only in segment.invalid: why it could not be understood
AUTHORITY: Final = "authority"  # b"operator" for a delete asked for by `stream forget`


class Origin(Struct, frozen=True, gc=False):
    """The headers of one message, read. Unknown headers are ignored; absent ones have these defaults."""

    source: str = ""
    space: str = ""
    received: float = 0.0
    signed: bool = False
    path: str = "destination"
    sender: str = "other"
    content_type: str = ""
    type: str = ""
    index: int | None = None
    message_id: str | None = None
    common: bytes | None = None
    reason: str = ""
    authority: str = ""


def read(headers: Headers) -> Origin:
    """The origin of a message. Never raises: a header that is not of its form counts as absent."""
    found = dict(headers)
    get = found.get
    return Origin(
        source=_text(get(SOURCE, b"")),
        space=_text(get(SPACE, b"")) if SPACE in found else "",
        received=_number(get(RECEIVED, b"0")),
        signed=get(SIGNED) == b"1",
        path=_text(get(PATH, b"destination")),
        sender=_text(get(SENDER, b"other")),
        content_type=_text(get(CONTENT_TYPE, b"")),
        type=_text(get(TYPE, b"")) if TYPE in found else "",
        index=int(_number(get(INDEX, b"0"))) if INDEX in found else None,
        message_id=_text(get(MESSAGE_ID, b"")) or None if MESSAGE_ID in found else None,
        common=get(COMMON),
        reason=_text(get(REASON, b"")) if REASON in found else "",
        authority=_text(get(AUTHORITY, b"")) if AUTHORITY in found else "",
    )


@lru_cache(4_096)  # the same few sources, paths, senders over and over
def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _number(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
