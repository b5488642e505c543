"""The headers of a raw message: what the receiver knew of it that its bytes do not say."""

from functools import lru_cache
from typing import Final

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


class Origin:
    """The headers of one message, each read when it is asked for. Unknown ones are ignored. Never raises: one that is
    not of its form counts as absent."""

    __slots__ = ("_found",)

    def __init__(self, headers: Headers) -> None:
        self._found = dict(headers)

    @property
    def source(self) -> str:
        return self._text(SOURCE)

    @property
    def space(self) -> str:
        return self._text(SPACE)

    @property
    def received(self) -> float:
        return self._number(RECEIVED)

    @property
    def signed(self) -> bool:
        return self._found.get(SIGNED) == b"1"

    @property
    def path(self) -> str:
        return self._text(PATH) if PATH in self._found else "destination"

    @property
    def sender(self) -> str:
        return self._text(SENDER) if SENDER in self._found else "other"

    @property
    def content_type(self) -> str:
        return self._text(CONTENT_TYPE)

    @property
    def type(self) -> str:
        return self._text(TYPE)

    @property
    def index(self) -> int | None:
        return int(self._number(INDEX)) if INDEX in self._found else None

    @property
    def message_id(self) -> str | None:
        return self._text(MESSAGE_ID) or None

    @property
    def common(self) -> bytes | None:
        return self._found.get(COMMON)

    @property
    def reason(self) -> str:
        return self._text(REASON)

    @property
    def authority(self) -> str:
        return self._text(AUTHORITY)

    def _text(self, name: str) -> str:
        value = self._found.get(name)
        return _decoded(value) if value else ""

    def _number(self, name: str) -> float:
        try:
            return float(self._found.get(name, b"0"))
        except ValueError:
            return 0.0


def read(headers: Headers) -> Origin:
    """The origin of a message."""
    return Origin(headers)


@lru_cache(4_096)  # the same few sources, paths, senders over and over
def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "replace")
