"""Requests that Kafka's client does not have: which cluster and which very topics these are, and a topic's settings
changed one by one. Formats: Kafka's protocol guide, Metadata v10 and IncrementalAlterConfigs v0.

A topic's id is Kafka's own, made with the topic: one that was deleted and made again has another. Kafka 2.8 and newer
tell it.
"""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from struct import pack, unpack
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from msgspec import Struct

from stream.errors import LogRefused

T = TypeVar("T")

_METADATA, _METADATA_VERSION = 3, 10
_ALTER, _ALTER_VERSION = 44, 0
_TOPIC, _SET = 2, 0
_UNKNOWN_TOPIC, _FORBIDDEN_TOPIC = 3, 29


class Found(Struct, frozen=True):
    """A topic of the cluster: its id, and how many copies each partition has, by number."""

    id: str
    copies: Mapping[int, int]


class Cluster(Struct, frozen=True):
    """What a broker knows: the cluster's id, how many brokers there are, those topics that exist, and those that this
    user may not see."""

    id: str
    brokers: int
    topics: Mapping[str, Found]
    hidden: Sequence[str]


class _Request:
    """What the client wants of a request and of its answer. The client asks `prepare` with the versions that the broker
    knows, sends the header and the body, and has the answer decoded; if that raised, the connection would be lost."""

    KEY: ClassVar[int]
    VERSION: ClassVar[int]
    FLEXIBLE: ClassVar[bool]
    RESPONSE_TYPE: "_Request"

    def __init__(self) -> None:
        self.RESPONSE_TYPE = self

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> "_Request":
        """Raises LogRefused where the broker is too old."""
        oldest, newest = versions.get(self.KEY, (0, -1))
        if not oldest <= self.VERSION <= newest:
            raise LogRefused("these brokers are older than Kafka 2.8: they cannot tell which very topic they hold")
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> "_Bytes":
        name = client_id.encode()
        head = pack(">hhih", self.KEY, self.VERSION, correlation_id, len(name)) + name
        return _Bytes(head + b"\0" if self.FLEXIBLE else head)

    def parse_response_header(self, data: BytesIO) -> "_Answered":
        found = _Answered(_number(data, ">i"))
        if self.FLEXIBLE:
            _skip_tags(data)
        return found


class _Bytes(Struct, frozen=True):
    data: bytes

    def encode(self) -> bytes:
        return self.data


class _Answered(Struct, frozen=True):
    correlation_id: int


class Look(_Request):
    """Asks for the cluster and these topics. The answer is a Cluster."""

    KEY, VERSION, FLEXIBLE = _METADATA, _METADATA_VERSION, True

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__()
        self._topics = topics

    def encode(self) -> bytes:
        each = [bytes(16) + _compact(topic) + b"\0" for topic in self._topics]
        return _varint(len(each) + 1) + b"".join(each) + b"\0\0\0" + b"\0"  # makes no topic, asks for no rights

    def decode(self, data: BytesIO) -> Cluster:
        _number(data, ">i")  # throttled for so long
        brokers = _array(data, _broker)
        cluster = _text(data)
        _number(data, ">i")  # the controller
        topics = _array(data, _topic)
        there = {name: found for code, name, found in topics if code != _UNKNOWN_TOPIC and found.copies}
        return Cluster(
            cluster or "", len(brokers), there, [name for code, name, _ in topics if code == _FORBIDDEN_TOPIC]
        )


class Change(_Request):
    """Sets these settings of a topic, and no others. The answer is None, or why not."""

    KEY, VERSION, FLEXIBLE = _ALTER, _ALTER_VERSION, False

    def __init__(self, topic: str, settings: Mapping[str, str]) -> None:
        super().__init__()
        self._topic = topic
        self._settings = settings

    def encode(self) -> bytes:
        settings = b"".join(_short(name) + pack(">b", _SET) + _short(value) for name, value in self._settings.items())
        return pack(">ib", 1, _TOPIC) + _short(self._topic) + pack(">i", len(self._settings)) + settings + b"\0"

    def decode(self, data: BytesIO) -> str | None:
        _, _, code, length = unpack(">iihh", data.read(12))
        message = data.read(length).decode() if length > 0 else ""
        return (message or f"error {code}") if code else None


def _broker(data: BytesIO) -> None:
    _number(data, ">i")
    _text(data)
    _number(data, ">i")
    _text(data)
    _skip_tags(data)


def _topic(data: BytesIO) -> tuple[int, str, Found]:
    code, name = _number(data, ">h"), _text(data) or ""
    id = UUID(bytes=data.read(16))
    data.read(1)  # internal
    copies = dict(_array(data, _partition))
    _number(data, ">i")  # what the caller may do with it
    _skip_tags(data)
    return code, name, Found(id.hex, copies)


def _partition(data: BytesIO) -> tuple[int, int]:
    _number(data, ">h")  # an error: about its leader
    number = _number(data, ">i")
    data.read(8)  # leader, epoch
    copies = len(_array(data, lambda data: _number(data, ">i")))
    for _ in range(2):  # in sync, offline
        _array(data, lambda data: _number(data, ">i"))
    _skip_tags(data)
    return number, copies


def _array(data: BytesIO, one: Callable[[BytesIO], T]) -> list[T]:
    return [one(data) for _ in range(_read_varint(data) - 1)]


def _number(data: BytesIO, form: str) -> int:
    found: tuple[Any, ...] = unpack(form, data.read(2 if form == ">h" else 4))
    return int(found[0])


def _text(data: BytesIO) -> str | None:
    length = _read_varint(data) - 1
    return None if length < 0 else data.read(length).decode()


def _short(text: str) -> bytes:
    data = text.encode()
    return pack(">h", len(data)) + data


def _compact(text: str) -> bytes:
    data = text.encode()
    return _varint(len(data) + 1) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _read_varint(data: BytesIO) -> int:
    found = shift = 0
    while True:
        (byte,) = data.read(1)
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found
        shift += 7


def _skip_tags(data: BytesIO) -> None:
    for _ in range(_read_varint(data)):
        _read_varint(data)
        data.read(_read_varint(data))
