"""Who somebody is: traits, identifiers, groups, device and campaign, what they did how often, first and last when.

One row per subject. Only here do identifiers become links: an identify or a track with both ids says that the
anonymous one is the user (facts §8; an alias, which Segment's Unify does not merge on, only if configured). Whether a
link counts, since both stand for somebody and neither is shared, the store decides.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from stream import toml
from stream.config import IdentityConfig
from stream.connector import Connector, can
from stream.core.recent import noted
from stream.core.register import Register, Settled, keep_newest, named, settle
from stream.errors import ConfigError, Skip
from stream.events import Event
from stream.facts import Profile, newest_of_kinds
from stream.person import Person
from stream.processor import Processor, Projection, Sync, Table, Want
from stream.subjects import subject, text_id

MAX_TRAITS = 1_000
MAX_IDENTIFIERS = 50
MAX_GROUPS = 100
MAX_EVENT_NAMES = 100
MAX_EVENT_NAME = 200  # characters; a longer one counts as other


class Profiles(Projection):
    """Marks `traits` and `identity` when a value is another one than before; never for counts, sightings, context."""

    name = "profiles"
    topics = ("track", "identify", "page", "screen", "group", "alias")
    rows = Table("profiles", Profile)

    def __init__(self, identity: IdentityConfig) -> None:
        self._alias = identity.alias

    def subjects(self, event: Event) -> tuple[str, ...]:
        """The event's; a group call's traits are the group's own."""
        if event.type != "group" or event.group is None or event.group == event.subject:
            return (event.subject,)
        return (event.subject, event.group)

    def handle(self, event: Event) -> None:
        """Folds the event into its rows. A repeat of a recent message is not counted; if nothing else came of it
        either, it is skipped as a duplicate."""
        if event.user_id is None and event.anonymous_id is None and event.subject != event.group:
            raise Skip("no_subject")
        linked = self._link(event)
        changed = [self._remember(of, event) for of in self.subjects(event)]
        if not linked and not any(changed):
            raise Skip("duplicate")

    def refused(self, event: Event) -> None:
        """What a deleted person did before is not remembered. But who else it was, and by which addresses
        destinations may know them, belongs to the deletion (design §8); and a group's traits are the group's, whoever
        told them: they must not depend on which came first, the call or the deletion.

        A public write key, which anybody has, names no address: what is there cannot be brought back (design §7)."""
        self._link(event)
        for of in self.subjects(event)[1:]:
            self._remember(of, event)
        if event.path == "destination" or event.signed:
            for address in _identifiers(event):
                self.address(event.subject, address)

    def _remember(self, of: str, event: Event) -> bool:
        row = self.rows.get(of) or Profile(event.time, event.time)
        recent = noted(row.recent, event.message_id)
        if recent is not None:
            row.recent = recent
            _count(row, event)
        facets = _fold(row, event, of)
        if recent is None and row == self.rows.get(of):
            return False
        if facets.get("identity") is Settled.CHANGED:  # it gained one
            self.identify(of, row.identifiers)
        news = [named(facet, settled) for facet, settled in facets.items() if settled]
        self.rows.put(of, row, *(news[0] if news else ()))
        for more in news[1:]:
            self.rows.put(of, row, *more)
        return True

    def _link(self, event: Event) -> bool:
        user, previous = event.user_id, event.anonymous_id
        others: tuple[str | None, ...] = ()
        if event.type in ("identify", "track"):
            others = (event.anonymous,)
        elif event.type == "alias" and self._alias:
            # The wire does not say which kind of id the previous one was. A link of one that never was links nothing.
            previous = event.previous_id
            others = tuple(subject(event.space, kind, previous or "") for kind in ("user", "anon"))
        if not user or not previous:
            return False
        for other in others:
            if other is not None and other != event.subject:
                self.link(other, event.subject, event.time)
        return bool(others)


class Settings(Struct, frozen=True):
    """[processors.profiles.DESTINATION]: what it is told of somebody."""

    purpose: str = "marketing"  # the consent that it needs
    traits: tuple[str, ...] = ()  # only these; empty: all
    computed: bool = False  # Engage's computed traits too, by KEY


class Upserts(Sync):
    """Tells a destination the traits of people, by the newest address of the kind that it likes best."""

    facets = ("traits", "audience", "consent")

    def __init__(self, name: str, connector: Connector, settings: Settings) -> None:
        self.name, self.connector, self.purpose = name, connector, settings.purpose
        self._settings = settings

    def wanted(self, person: Person) -> Sequence[Want]:
        """One profile; none where there is nothing to tell."""
        address = person.address(self.connector.kinds)
        known = dict(person.traits)
        if self._settings.computed:
            known |= {name.rpartition("/")[2]: value for name, value in person.computed.items()}
        chosen = self._settings.traits
        told = {name: value for name, value in known.items() if not chosen or name in chosen}
        return [Want(address, "upsert_profile", "profile", told)] if address and told else []


def build(app: Any, settings: dict[str, Any]) -> list[Processor]:
    """[processors.profiles]: `destinations`, and Settings for each; [identity] says what links."""
    found, rest = app.destinations("profiles", settings, Settings)
    toml.known("processors.profiles", rest, ("destinations",))
    for name, connector, _ in found:
        if not can(connector, "upsert_profile"):
            raise ConfigError(f"processors.{name}: connectors.{connector.name} cannot upsert_profile")
    return [Profiles(app.config.identity), *(Upserts(*one) for one in found)]


def _count(row: Profile, event: Event) -> None:
    if event.type != "track":
        row.types[event.type] = row.types.get(event.type, 0) + 1
        return
    name, events = event.event, row.events
    if name in events:
        events[name] += 1
    elif name is not None and len(events) < MAX_EVENT_NAMES and len(name) <= MAX_EVENT_NAME:
        events[name] = 1
    else:
        row.other += 1


def _fold(row: Profile, event: Event, of: str) -> dict[str, Settled]:
    """Changes the row by what the event says about this subject; what became of each facet."""
    row.first_seen = min(row.first_seen, event.time)
    row.last_seen = max(row.last_seen, event.time)
    if event.type == "group" and of == event.group:
        return {"traits": _settle(row.traits, event.traits, event, MAX_TRAITS)}
    identifiers = dict.fromkeys(_identifiers(event), True)
    context = {name: event.context[name] for name in _CONTEXT if event.context.get(name)}
    _settle(row.context, context, event, len(_CONTEXT))
    traits = Settled.OLDER
    if event.type == "identify":
        traits = _settle(row.traits, event.traits, event, MAX_TRAITS)
    elif event.type == "group" and event.group_id is not None:
        traits = _settle(row.groups, {event.group_id: True}, event, MAX_GROUPS)
    return {"identity": _identify(row.identifiers, identifiers, event), "traits": traits}


def _identify(registers: dict[str, Register], values: dict[str, Any], event: Event) -> Settled:
    """One that is said again may be the newest of its kind anew: then destinations know the person by another one."""
    if not values:
        return Settled.OLDER
    before = newest_of_kinds(registers)
    settled = _settle(registers, values, event, MAX_IDENTIFIERS)
    return Settled.CHANGED if settled and newest_of_kinds(registers) != before else settled


def _settle(registers: dict[str, Register], values: dict[str, Any], event: Event, limit: int) -> Settled:
    if not values:
        return Settled.OLDER
    stamp = event.stamp
    settled = max([settle(registers, name, Register(value, *stamp)) for name, value in values.items()])
    keep_newest(registers, limit)
    return settled


def _identifiers(event: Event) -> Iterator[str]:
    """Names that others may know this subject by: facts §8, but not properties.email, which may be somebody else's
    (an invitation), nor a group call's traits, which are the group's."""
    known, external = event.context.get("traits"), event.context.get("externalIds")
    for traits in (event.traits if event.type == "identify" else None, known):
        if isinstance(traits, dict):
            email, phone = traits.get("email"), text_id(traits.get("phone"))
            if isinstance(email, str) and "@" in email:
                yield f"email:{email.strip().lower()}"
            if phone and phone.strip():
                yield f"phone:{phone.strip()}"
    for entry in external if isinstance(external, list) else ():
        if isinstance(entry, dict) and entry.get("collection", "users") == "users":
            kind, identifier = text_id(entry.get("type")), text_id(entry.get("id"))
            if kind and identifier:
                yield f"{kind}:{identifier.strip().lower() if kind == 'email' else identifier}"


_CONTEXT = ("device", "campaign")
