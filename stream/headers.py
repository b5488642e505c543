"""The headers of a raw message: what the receiver knew of it that its bytes do not say."""

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


class Origin(Struct, frozen=True):
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
    return Origin(
        source=_text(found, SOURCE),
        space=_text(found, SPACE),
        received=_number(found, RECEIVED),
        signed=found.get(SIGNED) == b"1",
        path=_text(found, PATH) or "destination",
        sender=_text(found, SENDER) or "other",
        content_type=_text(found, CONTENT_TYPE),
        type=_text(found, TYPE),
        index=int(_number(found, INDEX)) if INDEX in found else None,
        message_id=_text(found, MESSAGE_ID) or None,
        common=found.get(COMMON),
        reason=_text(found, REASON),
        authority=_text(found, AUTHORITY),
    )


def _text(found: dict[str, bytes], name: str) -> str:
    return found.get(name, b"").decode("utf-8", "replace")


def _number(found: dict[str, bytes], name: str) -> float:
    try:
        return float(found.get(name, b"0"))
    except ValueError:
        return 0.0
