"""Register: a value with the stamp of the event that set it. The newest wins, whatever the order of arrival.

Everything here is a join of a semilattice: applied in any order, in any grouping, any number of times, to the same
registers, it ends in the same ones (tests/core/test_register.py).
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct


class Register(Struct, frozen=True, array_like=True, gc=False):
    """A value, and when which message said so: event time, then receivedAt, then messageId order it (design §8)."""

    value: Any
    time: float
    received: float
    id: str


R = TypeVar("R", bound=Register)


def newer(one: Register, other: Register) -> bool:
    """Does `one` replace `other`? Of two that differ, exactly one does: at last their encodings decide."""
    if one.time != other.time:
        return one.time > other.time
    if one.received != other.received:
        return one.received > other.received
    return one.id > other.id if one.id != other.id else _encode(one) > _encode(other)


class Settled(IntEnum):
    """What became of a register that was set. Of several, the greatest says it for all."""

    OLDER = 0  # what was there is newer
    RENEWED = 1  # the same value, said again later: matters only where linked subjects differ
    CHANGED = 2  # another value than before


def settle(registers: dict[str, R], name: str, new: R) -> Settled:
    """Sets `name`, unless what is there is newer."""
    old = registers.get(name)
    if old is None:
        registers[name] = new
        return Settled.CHANGED
    if not newer(new, old):
        return Settled.OLDER
    registers[name] = new
    return Settled.RENEWED if same(new.value, old.value) else Settled.CHANGED


def named(facet: str, settled: Settled) -> tuple[str | None, str | None]:
    """The facet as `Table.put` takes it: whether it changed, or was renewed."""
    return (facet if settled == Settled.CHANGED else None, facet if settled == Settled.RENEWED else None)


def same(one: Any, other: Any) -> bool:
    """Are these the same JSON? Stricter than ==, which takes 1 for true."""
    equal: bool = one == other
    return equal and _encode(one) == _encode(other)


def newest(registers: Iterable[R]) -> R | None:
    """The one that replaces all others."""
    found: R | None = None
    for register in registers:
        if found is None or newer(register, found):
            found = register
    return found


def keep_newest(registers: dict[str, R], limit: int) -> None:
    """Leaves the `limit` newest (between equal stamps: the greatest names). What falls out could only have come back
    newer than one that stays, so that the order of arrival does not matter here either."""
    if len(registers) > limit:
        for name in sorted(registers, key=lambda name: (*_stamp(registers[name]), name))[:-limit]:
            del registers[name]


def younger(registers: Mapping[str, R], time: float) -> dict[str, R]:
    """Those of after `time`."""
    return {name: register for name, register in registers.items() if register.time > time}


def merged(maps: Iterable[Mapping[str, R]]) -> dict[str, R]:
    """The newest register of each name."""
    found: dict[str, R] = {}
    for registers in maps:
        for name, register in registers.items():
            settle(found, name, register)
    return found


def _stamp(register: Register) -> tuple[float, float, str]:
    return (register.time, register.received, register.id)


_encode = msgspec.json.Encoder(order="deterministic").encode
