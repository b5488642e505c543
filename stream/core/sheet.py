"""The rows of one batch: loaded ahead, changed by events, written at the end. Pure.

One event at a time: `begin`, then its puts are its own until `keep` makes them the batch's or `drop` forgets them.
Rows are held encoded, and each `get` decodes anew: what an author changes but does not put has no effect.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

Key = tuple[str, str]
"""Table and subject."""


class Missing(BaseException):
    """handle() asked for a row that was not loaded. Not an Exception, so that no author catches it by accident."""

    def __init__(self, key: Key) -> None:
        super().__init__(key)
        self.key = key


class Loaded(NamedTuple):
    """A row as it was read: version None means that there was none."""

    version: int | None
    value: str | None


class Changes(Struct):
    """What events asked for besides rows."""

    marks: dict[tuple[str, str], None] = {}  # (subject, facet), in order
    renewed: dict[tuple[str, str, str], None] = {}  # (table, subject, facet) whose values were said again
    links: dict[tuple[str, str], tuple[float, float]] = {}  # (subject, other) → first and last time
    forgets: dict[tuple[str, str], tuple[float, str]] = {}  # (request, subject) → time, authority; the first counts
    addresses: dict[tuple[str, str], None] = {}  # (subject, address)
    identified: dict[str, tuple[str, ...]] = {}  # subject → all that it is known by


class Sheet:
    """The rows of one batch, as `processor.Batch`."""

    def __init__(self) -> None:
        self.loaded: dict[Key, Loaded] = {}
        self.tombstones: dict[str, float] = {}
        self._unerased: set[str] = set()
        self.puts: dict[Key, str | None] = {}
        self.changes = Changes()
        self._own: dict[Key, str | None] = {}
        self._asked = Changes()
        self._dirty = False
        self._time = 0.0
        self._decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}

    def load(self, rows: Mapping[Key, Loaded], tombstones: Mapping[str, float], unerased: Collection[str] = ()) -> None:
        """Adds rows that were read (absent ones too), the tombstones of their subjects, and whose rows may still hold
        what is older than those."""
        self.loaded.update(rows)
        self.tombstones.update(tombstones)
        self._unerased.update(unerased)

    def lacks(self, keys: Iterable[Key]) -> list[Key]:
        """Those of the keys that are not loaded, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self.loaded]

    def forgotten(self, subject: str, time: float) -> bool:
        """Is something of that time about this subject older than its tombstone?"""
        return bool(self.tombstones) and time <= self.tombstones.get(subject, float("-inf"))

    def begin(self, time: float) -> None:
        """The next event, with its time: what it puts about those who were deleted since does not count."""
        self._time = time
        self.drop()

    def keep(self) -> None:
        """The event ended well: what it put is the batch's."""
        self.puts.update(self._own)
        if not self._dirty:
            return
        asked, changes = self._asked, self.changes
        changes.marks.update(asked.marks)
        changes.renewed.update(asked.renewed)
        changes.forgets.update({k: v for k, v in asked.forgets.items() if k not in changes.forgets})
        changes.addresses.update(asked.addresses)
        changes.identified.update(asked.identified)
        for pair, (first, last) in asked.links.items():
            had = changes.links.get(pair)
            changes.links[pair] = (min(first, had[0]), max(last, had[1])) if had else (first, last)

    def drop(self) -> None:
        """The event did not end well: it put nothing."""
        self._own = {}
        if self._dirty:
            self._asked, self._dirty = Changes(), False

    def get(self, table: str, kind: type[Any], subject: str) -> Any | None:
        key = (table, subject)
        value = self._own.get(key, _NOTHING)
        if value is _NOTHING:
            value = self.puts.get(key, _NOTHING)
        if value is not _NOTHING:
            return None if value is None else self._decode(kind, value)
        loaded = self.loaded.get(key)
        if loaded is None:
            raise Missing(key)
        if loaded.value is None:
            return None
        row = self._decode(kind, loaded.value)
        return without(row, self.tombstones[subject]) if subject in self._unerased else row

    def put(
        self, table: str, subject: str, value: Struct | None, changed: str | None, renewed: str | None = None
    ) -> None:
        key = (table, subject)
        if key not in self.loaded:
            raise Missing(key)
        if self.forgotten(subject, self._time):
            return
        self._own[key] = None if value is None else _encode(value).decode()
        if changed is not None:
            self._dirty = True
            self._asked.marks[subject, changed] = None
        elif renewed is not None:
            self._dirty = True
            self._asked.renewed[table, subject, renewed] = None

    def link(self, subject: str, other: str, time: float) -> None:
        self._dirty = True
        self._asked.links[subject, other] = (time, time)

    def forget(self, subject: str, time: float, request: str, authority: str) -> None:
        self._dirty = True
        self._asked.forgets.setdefault((request, subject), (time, authority))

    def address(self, subject: str, address: str) -> None:
        self._dirty = True
        self._asked.addresses[subject, address] = None

    def identify(self, subject: str, identifiers: Iterable[str]) -> None:
        if not self.forgotten(subject, self._time):
            self._dirty = True
            self._asked.identified[subject] = tuple(identifiers)

    def _decode(self, kind: type[Any], value: str) -> Any:
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = msgspec.json.Decoder(kind)
        return decoder.decode(value)


def without(row: Any, time: float) -> Any | None:
    """What is left of a row when everything up to `time` must be forgotten: nothing, unless the row can tell."""
    erasable = getattr(row, "without", None)
    return None if erasable is None else erasable(time)


_NOTHING: Any = object()
_encode = msgspec.json.Encoder().encode
