"""Purpose: what sending for a purpose needs of a person, and what they said. Pure."""

import re
from collections.abc import Iterator, Mapping

from stream.config import PurposeConfig
from stream.person import Person

INTERNAL = "internal"
"""The built-in purpose. It needs no consent; but who is deleted is deleted."""

ASKED = ("profiles", "consent", "deletion")
"""The projections that the gate relies on: who is whom, what they allow, who is to be forgotten. Where something is
sent, they must be there."""

NO_CONSENT, OPTED_OUT, CONFLICT = "no_consent", "opted_out", "conflict"

CHANNEL = re.compile(r"(?!list$)[a-z][a-z_.]*(:.+)?")
"""A channel that a purpose may name (`email`, `list:1425`): as the consent projection names subscriptions."""


def problems(purposes: Mapping[str, PurposeConfig]) -> Iterator[str]:
    """What is wrong with them, as the configuration declares them: channels that nobody can subscribe to."""
    for name, purpose in purposes.items():
        for channel in purpose.channels:
            if not CHANNEL.fullmatch(channel):
                yield f"purposes.{name}.channels: {channel!r} is no channel; allowed: one such as email, or list:NAME"


def refusal(
    purpose: PurposeConfig, person: Person, address: str = "", said: Mapping[str, bool] | None = None
) -> str | None:
    """Why this purpose may not reach this person at this address; None if it may.

    `said`: category → yes, of an event of this person's own: it counts where nothing else is known, and a no always
    does. A category missing from it is a no."""
    unknown = None if purpose.unknown == "allow" else NO_CONSENT
    answers = (unknown if answer == _UNKNOWN else answer for answer in _answers(purpose, person, address, said))
    return next((answer for answer in answers if answer), None)


def objection(purpose: PurposeConfig, person: Person, address: str = "") -> str | None:
    """What this person said against this purpose reaching the address; None if they said nothing against it: who never
    said anything does not speak for another one who shares the address."""
    return next((answer for answer in _answers(purpose, person, address) if answer not in (None, _UNKNOWN)), None)


def _answers(
    purpose: PurposeConfig, person: Person, address: str, said: Mapping[str, bool] | None = None
) -> Iterator[str | None]:
    """To each category and channel: why not, None, or _UNKNOWN."""
    for category in purpose.categories:
        yield _category(person, category, said)
    for channel in purpose.channels:
        yield _channel(person, channel, address)


def _category(person: Person, category: str, said: Mapping[str, bool] | None) -> str | None:
    answer = person.consent(category)
    if answer == "no" or (said is not None and said.get(category) is not True):
        return NO_CONSENT
    if answer == "conflict":
        return CONFLICT
    return None if answer == "yes" or said is not None else _UNKNOWN


def _channel(person: Person, channel: str, address: str) -> str | None:
    words = {person.subscriptions[name].status for name in _names(person, channel, address)}
    if "conflict" in words:
        return CONFLICT
    if words - {"subscribed"}:
        return OPTED_OUT
    return None if words else _UNKNOWN


def _names(person: Person, channel: str, address: str) -> Iterator[str]:
    """The subscriptions that tell of this channel. Where it is not known which of the person's addresses is meant (the
    destination knows them by an id of theirs, or by an address of another channel), an answer about any counts."""
    kind, _, identifier = address.partition(":")
    anywhere = kind != KINDS.get(channel, channel)
    for name in person.subscriptions:
        of, colon, at = name.partition(":")
        if name == channel or (colon and of == channel and (anywhere or at == identifier)):
            yield name


KINDS = {"sms": "phone", "whatsapp": "phone"}
"""Channel → the kind of its addresses, where the two are called differently."""

_UNKNOWN = "unknown"
