"""What somebody allows, in their own words, and which event is the proof (facts §4; semantics of design §8).

Categories are Segment's consent object, one register for the whole map. Subscriptions are named by channel (`email`),
channel and address (`email:a@b.c`), or list (`list:1425`), and are each a register. Wherever something is unclear, it
is a no.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from stream import toml
from stream.connector import Connector, can
from stream.core.register import Settled, named, settle
from stream.errors import ConfigError, Dead, Skip
from stream.events import Event
from stream.facts import CATEGORIES, SUBSCRIPTION, Consents, Statement, preferences
from stream.person import Person
from stream.processor import Processor, Projection, Sync, Table, Want
from stream.purpose import CHANNEL, KINDS
from stream.subjects import text_id
from stream.topics import TYPES

PREFERENCES_UPDATED = "Segment Consent Preference Updated"
"""The one reserved event (facts §4.1). Without a map it dies, and while it is dead nothing is given to that person."""


class Settings(Struct, frozen=True):
    """[processors.consent]: traits that are consent by convention → the subscription that they are about."""

    given_by: dict[str, str] = {}  # true subscribes, all else unsubscribes: { newsletter = "list:newsletter" }
    withdrawn_by: dict[str, str] = {}  # false subscribes, all else but null unsubscribes: { email_opt_out = "email" }


class Consent(Projection):
    """Marks `consent` when a person's answer changes, not when it is repeated; the proof moves to the newest."""

    name = "consent"
    topics = TYPES[:-1]
    rows = Table("consent", Consents)

    def __init__(self, settings: Settings) -> None:
        self._given_by, self._withdrawn_by = settings.given_by, settings.withdrawn_by
        traits = [trait.encode() for trait in (*settings.given_by, *settings.withdrawn_by)]
        self._names = (*_NAMES, *traits)

    def subjects(self, event: Event) -> tuple[str, ...]:
        """None for the many events that say nothing."""
        if not event.may_say(*self._names):
            return ()
        return (event.subject,) if preferences(event) is not None or self.said(event) else ()

    def handle(self, event: Event) -> None:
        """Files what the event says. What its newest statement says of a category or subscription, counts."""
        if not event.may_say(*self._names):
            raise Skip("no_consent")
        categories, said = preferences(event), self.said(event)
        if event.event == PREFERENCES_UPDATED and categories is None:
            raise Dead("no_category_preferences")
        if categories is None and not said:
            raise Skip("no_consent")
        if event.subject not in (event.user, event.anonymous, event.group):
            raise Skip("no_subject")
        row = self.rows.get(event.subject) or Consents()
        origin = (event.source, event.event or event.type)
        settled = Settled.OLDER
        if categories is not None:
            settled = settle(row.categories, CATEGORIES, Statement(categories, *event.stamp, *origin))
        for name, word in said.items():
            settled = max(settled, settle(row.subscriptions, name, Statement(word, *event.stamp, *origin)))
        self.rows.put(event.subject, row, *named("consent", settled))

    def said(self, event: Event) -> dict[str, str]:
        """Subscription → word, of everything that one event says about it the strictest."""
        found: dict[str, str] = {}
        for name, word in self._statements(event):
            if _RANK[word] >= _RANK.get(found.get(name, ""), 0):
                found[name] = word
        return found

    def _statements(self, event: Event) -> Iterator[tuple[str, str]]:
        for held in (event.context, event.properties):
            if "messaging_subscriptions" in held:
                yield from _messaging(held["messaging_subscriptions"])
            if "external_ids" in held:
                yield from _external(held["external_ids"])
        if event.type == "track":
            yield from _named(event)
        if event.type == "identify":
            for trait in self._given_by.keys() & event.traits.keys():
                yield self._given_by[trait], _word(_clear(event.traits[trait]) is True)
            for trait in self._withdrawn_by.keys() & event.traits.keys():
                if event.traits[trait] is not None:  # a column that was never filled opts nobody out
                    yield self._withdrawn_by[trait], _word(_clear(event.traits[trait]) is False)


class Carried(Struct, frozen=True):
    """[processors.consent.DESTINATION]: which answers it is told."""

    subscriptions: tuple[str, ...] = ()  # email, sms, list:ID …; empty: all that the person answered
    categories: dict[str, str] = {}  # category of the consent object → its name there; none: not told


class Answers(Sync):
    """Tells a destination what people allow. A no goes to every address that it may know the person by, whether or not
    it was ever told of them; a yes to the newest. An answer about one address goes to that one; where the destination
    knows nobody by such addresses, to those of the person. Needs no consent itself."""

    facets = ("consent",)

    def __init__(self, name: str, connector: Connector, carried: Carried) -> None:
        self.name, self.connector, self._carried = name, connector, carried

    def wanted(self, person: Person) -> Sequence[Want]:
        """One thing for each subscription, `consent:email`, and each category that is to be told."""
        wants: dict[tuple[str, str], Want] = {}
        kinds = self.connector.kinds
        for name, address, given in self._answers(person):
            # Where it knows nobody by such an address, it may still reach it: then the answer is the person's.
            fits = address is not None and address.partition(":")[0] in kinds
            every = [address] if address is not None and fits else person.addresses(kinds)
            for one in every[: 1 if given else None]:
                if (one, name) not in wants or not given:
                    wants[one, name] = Want(one, "set_consent", f"consent:{name}", given)
        return list(wants.values())

    def _answers(self, person: Person) -> Iterator[tuple[str, str | None, bool]]:
        for name, said in person.subscriptions.items():
            channel, _, identifier = name.partition(":")
            of_address = identifier and channel != "list"
            known = channel if of_address else name
            if not self._carried.subscriptions or known in self._carried.subscriptions:
                address = f"{KINDS.get(channel, channel)}:{identifier}" if of_address else None
                yield known, address, said.status == "subscribed"
        for category, name in self._carried.categories.items():
            if (answer := person.consent(category)) != "unknown":
                yield name, None, answer == "yes"


def build(app: Any, settings: dict[str, Any]) -> list[Processor]:
    """[processors.consent]: see Settings, `destinations`, and Carried for each of those."""
    found, rest = app.destinations("consent", settings, Carried)
    for name, connector, _ in found:
        if not can(connector, "set_consent"):
            raise ConfigError(f"processors.{name}: connectors.{connector.name} cannot set_consent")
    own = toml.struct("processors.consent", rest, Settings)
    for setting in ("given_by", "withdrawn_by"):
        for trait, name in getattr(own, setting).items():
            if not CHANNEL.fullmatch(name):
                raise ConfigError(
                    f"processors.consent.{setting}.{trait} must name a subscription: a channel such as email, "
                    "email:ADDRESS, or list:NAME"
                )
    return [Consent(own), *(Answers(*one) for one in found)]


def _messaging(found: Any) -> Iterator[tuple[str, str]]:
    """context.messaging_subscriptions (facts §4.2)."""
    for entry in _objects(found):
        yield from _at(text_id(entry.get("type")), text_id(entry.get("key")), entry.get("status"))
        for group in _objects(entry.get("groups")):
            yield from _at("list", text_id(group.get("name")) or text_id(group.get("id")), group.get("status"))


def _external(found: Any) -> Iterator[tuple[str, str]]:
    """Engage's external_ids, which say what the address is subscribed to (facts §4.2)."""
    for entry in _objects(found):
        kind = text_id(entry.get("type"))
        channel = (text_id(entry.get("channelType")) or "sms") if kind == "phone" else kind
        yield from _at(channel, text_id(entry.get("id")), entry.get("isSubscribed"))
        for group in _objects(entry.get("groups")):
            yield from _at("list", text_id(group.get("id")), group.get("isSubscribed"))


def _at(channel: str | None, key: str | None, status: Any) -> Iterator[tuple[str, str]]:
    word, key = _status(status), key.strip() if key else None  # as profiles write addresses
    if channel and word and (key or channel != "list"):
        key = key.lower() if key and channel.lower() == "email" else key
        yield (f"{channel.lower()}:{key}" if key else channel.lower()), word


def _named(event: Event) -> Iterator[tuple[str, str]]:
    """Email spec, Engage's and Sailthru's events (facts §4.2, §4.3). "Subscribed" alone may be to a paid plan: it
    gives nothing unless it names a list. "Unsubscribed" without one is taken at its word, for the whole channel."""
    event_name = (event.event or "").lower()
    if event_name not in _EVENTS:
        return
    channel, group, word = _EVENTS[event_name]
    named = next((text_id(event.properties[key]) for key in _LISTS if text_id(event.properties.get(key))), None)
    if named is not None:
        yield f"list:{named}", word
    elif word == "unsubscribed" or not (group or event_name == "subscribed"):
        yield channel, word


def _status(value: Any) -> str | None:
    """A word of SUBSCRIPTION; None for a blank. Anything unknown is a no."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return _word(value)
    word = value.strip().lower().replace("_", "-") if isinstance(value, str) else ""
    return {"true": "subscribed"}.get(word, word if word in _RANK else "unsubscribed")


def _clear(value: Any) -> bool | None:
    return _CLEAR.get(value.strip().lower() if isinstance(value, str) else value) if _plain(value) else None


def _plain(value: Any) -> bool:
    return isinstance(value, (str, bool, int))


def _word(subscribed: bool) -> str:
    return "subscribed" if subscribed else "unsubscribed"


def _objects(found: Any) -> list[dict[str, Any]]:
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


_NAMES = (b"onsent", b"ubscri", b"UBSCRI", b"external_ids", b"pam", b"PAM")
"""What stands in every event that says something: in the names of fields, or of _EVENTS in any usual case."""
_RANK = {word: rank for rank, word in enumerate(SUBSCRIPTION)}
_CLEAR: dict[Any, bool] = {True: True, False: False, "true": True, "false": False, "yes": True, "no": False}
_LISTS = ("list_id", "group_id", "list", "list_name", "group_name")
_EVENTS = {
    f"{prefix}{group}{word}": (channel, bool(group), word)
    for prefix, channel in (("", "email"), ("email ", "email"), ("sms ", "sms"), ("whatsapp message ", "whatsapp"))
    for group in ("", "group ")
    for word in ("subscribed", "unsubscribed")
} | {"email marked as spam": ("email", False, "unsubscribed")}
