"""Compare: of what is wanted, what was told and what is allowed: what must be sent. Pure.

A destination knows people by *address*, and keeps *things* about it. What is told of one address and thing is one
value, whoever shares the address; so what several people want of it is first made into one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

Key = tuple[str, str]
"""Address, thing."""

VERBS = ("set_consent", "set_membership", "delete_person", "upsert_profile")
"""In the order in which withdrawals are sent: an opt-out before everything else."""

_WITHDRAWN = {"set_consent": "false", "set_membership": "false"}
"""What can be taken away again, and how that is told."""
_FIRST_GIVEN = ("upsert_profile", "set_consent", "set_membership", "delete_person")


class Wanted(Struct, frozen=True):
    """One thing to be so at a destination, as a person wants it, or as it must be sent. `text`: the value as JSON.
    `person`: on whose behalf, by key; `seen`: when that one was last seen."""

    address: str
    thing: str
    verb: str
    value: Any
    text: str
    person: str
    purpose: str = ""
    seen: float = 0.0

    @property
    def key(self) -> Key:
        return (self.address, self.thing)

    @property
    def gives(self) -> bool:
        """Or does it take away?"""
        return self.verb == "upsert_profile" or (self.verb != "delete_person" and bool(self.value))


class Told(Protocol):
    """What was last told: `value` is JSON, None where nobody knows."""

    @property
    def address(self) -> str: ...
    @property
    def thing(self) -> str: ...
    @property
    def verb(self) -> str: ...
    @property
    def processor(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def value(self) -> str | None: ...


class Answers(Struct, frozen=True):
    """What the gate says of that which gives. `refused`: key → reason. Not `asked`: it answers nobody for now, so that
    nothing is given, and nothing is taken away for want of an answer."""

    refused: Mapping[Key, str]
    asked: bool = True


class Outcome(Struct, frozen=True):
    """What must be sent, in order: what takes away comes first. `waits`: something must be given once the gate
    answers."""

    send: list[Wanted]
    waits: bool = False


def text(value: Any) -> str:
    """A value as JSON, the same text for equal values. Raises TypeError for what is no JSON."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return msgspec.json.encode(value, order="deterministic").decode()


def together(wanted: Iterable[Wanted]) -> dict[Key, list[Wanted]]:
    """All that is wanted of each address and thing, that which counts first: a consent refused by one is refused; on a
    list if one wants it; the profile is that of whoever was seen last."""
    found: dict[Key, list[Wanted]] = {}
    for one in wanted:
        found.setdefault((one.address, one.thing), []).append(one)
    for those in found.values():
        if len(those) > 1:
            those.sort(key=_rank)
    return found


def compare(
    wanted: Mapping[Key, Sequence[Wanted]],
    told: Mapping[Key, Told],
    answers: Answers,
    processor: str,
    everything: bool = False,
) -> Outcome:
    """What `processor` must send so that what is wanted (`together`) is so, and what is not wanted (any more) is taken
    away where it told it. `everything`: what is wanted is sent even where it is known to be so."""
    send: list[Wanted] = []
    waits = False
    for key, those in wanted.items():
        one, was = those[0], told.get(key)
        if one.gives and key in answers.refused:
            continue
        if _known(one, was) and not everything:
            continue
        if one.gives and not answers.asked:
            waits = True
        elif one.gives or one.verb != "set_membership":
            send.append(one)
    send += [
        _withdrawal(key, was)
        for key, was in told.items()
        if was.processor == processor and _must_go(was, wanted.get(key, ()), answers)
    ]
    send.sort(key=_order)
    return Outcome(send, waits)


def _known(wanted: Wanted, told: Told | None) -> bool:
    return told is not None and told.value == wanted.text and told.verb == wanted.verb != "delete_person"


def _must_go(told: Told, wanted: Sequence[Wanted], answers: Answers) -> bool:
    """Was it given, or may it have been, and nobody wants it, or not all of them may?"""
    if told.verb not in _WITHDRAWN or told.value == _WITHDRAWN[told.verb]:
        return False
    if not wanted:
        return True
    one = wanted[0]
    if one.gives:
        return one.key in answers.refused
    return one.verb == "set_membership"  # what takes away otherwise is sent as it is wanted


def _withdrawal(key: Key, told: Told) -> Wanted:
    return Wanted(*key, told.verb, False, _WITHDRAWN[told.verb], told.subject)


def _rank(one: Wanted) -> tuple[int, bool, float, str]:
    last = one.verb in _WITHDRAWN and one.value == (one.verb == "set_consent")
    return VERBS.index(one.verb), last, -one.seen, one.person


def _order(one: Wanted) -> tuple[bool, int, str, str, str]:
    verbs = _FIRST_GIVEN if one.gives else VERBS
    return one.gives, verbs.index(one.verb), one.thing, one.text, one.address
