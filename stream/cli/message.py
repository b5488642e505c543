"""A delivery as commands show it: where it lies, its headers, and its bytes, whatever they are."""

from base64 import b64encode

from msgspec import UNSET, Struct, UnsetType

from stream import headers
from stream.cli.text import safe, when
from stream.message import Delivery

# What says something about where a message came from; --json has all of them.
_TOLD = (headers.SOURCE, headers.SPACE, headers.SENDER, headers.INDEX, headers.TYPE, headers.REASON, headers.AUTHORITY)


class Shown(Struct, frozen=True):
    """One delivery. `time`: when the log took it. `value` is the message as text, null where it says "gone"; `base64`
    is there, with the very bytes, where those are not UTF-8."""

    topic: str
    partition: int
    offset: int
    time: float
    key: str
    headers: dict[str, str]
    value: str | None
    base64: str | UnsetType = UNSET


def show(delivery: Delivery) -> Shown:
    """For JSON."""
    message, at = delivery.message, delivery.partition
    value, encoded = text_of(message.value)
    return Shown(
        topic=at.topic,
        partition=at.number,
        offset=delivery.offset,
        time=delivery.time,
        key=message.key.decode("utf-8", "backslashreplace"),
        headers={name: value.decode("utf-8", "backslashreplace") for name, value in message.headers},
        value=value,
        base64=encoded,
    )


def text_of(value: bytes | None) -> tuple[str | None, str | UnsetType]:
    """Bytes as text; and in base64, where they are no text."""
    if value is None:
        return None, UNSET
    try:
        return value.decode(), UNSET
    except UnicodeDecodeError:
        return value.decode("utf-8", "backslashreplace"), b64encode(value).decode()


def line(delivery: Delivery) -> str:
    """For the eye, on one line."""
    message, at = delivery.message, delivery.partition
    place = f"{when(delivery.time)}  {at.number}/{delivery.offset}"
    return "  ".join(filter(None, (place, safe(message.key), told(delivery), safe(message.value))))


def told(delivery: Delivery) -> str:
    """The headers that say where a message came from; `unsigned`, where it carries no signature of its own."""
    found = dict(delivery.message.headers)
    parts = [f"{name}={safe(found[name])}" for name in _TOLD if found.get(name)]
    return " ".join([*parts, *(["unsigned"] if found.get(headers.SIGNED) == b"0" else [])])
