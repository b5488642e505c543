"""Who is in which Engage audience or journey, and what Engage computed of them (facts §3).

Only `context.personas` of what came as a Segment destination counts: with a write key anybody could say it (design §7).
A first sync, several identifiers of one profile, every repeat: the same event again, and registers do not mind.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from stream import toml
from stream.connector import Connector, can
from stream.core.register import Register, named, settle
from stream.errors import ConfigError, Skip
from stream.events import Event
from stream.facts import Membership, Memberships
from stream.person import Person
from stream.processor import Processor, Projection, Sync, Table, Want


class Computation(NamedTuple):
    """What `context.personas` says an event is about."""

    kind: str  # audience, journey or computed
    key: str  # its name in traits or properties
    space: str
    id: str

    @property
    def name(self) -> str:
        """Its name among a person's: two spaces may use the same key."""
        return f"{self.space}/{self.key}" if self.space else self.key


class Audiences(Projection):
    """Marks `audience` when somebody enters, leaves, or is computed anew."""

    name = "audiences"
    topics = ("identify", "track", "group")
    rows = Table("audiences", Memberships)

    def subjects(self, event: Event) -> tuple[str, ...]:
        """An account audience in a group call is about the group (facts §3.1)."""
        if not event.may_say(b"personas") or not isinstance(event.context.get("personas"), dict):
            return ()
        return (event.group,) if event.type == "group" and event.group else (event.subject,)

    def handle(self, event: Event) -> None:
        """Files the membership or computed trait that the event carries, if it carries one."""
        subjects = self.subjects(event)
        if not subjects:
            raise Skip("no_personas")
        if event.path not in ("destination", "operator"):
            raise Skip("personas_not_from_segment")
        if subjects[0] not in (event.user, event.anonymous, event.group):
            raise Skip("no_subject")
        about = computation(event)
        row = self.rows.get(subjects[0]) or Memberships()
        if about.kind == "computed":
            if about.key not in _values(event):
                raise Skip("no_value")
            settled = settle(row.computed, about.name, Register(_values(event)[about.key], *event.stamp))
        else:
            value = membership(event, about)
            if value is None:
                raise Skip("no_membership")
            new = Membership(value, *event.stamp, kind=about.kind, computation=about.id)
            settled = settle(row.audiences, about.name, new)
        self.rows.put(subjects[0], row, *named("audience", settled))

    def refused(self, event: Event) -> None:
        """What is about a group is the group's, whoever told it."""
        if event.group in self.subjects(event) and event.group != event.subject:
            self.handle(event)


class Settings(Struct, frozen=True):
    """[processors.audiences.DESTINATION]: which memberships it is told of."""

    purpose: str = "marketing"  # the consent that being on its lists needs
    purposes: dict[str, str] = {}  # of single audiences, where it is another one
    audiences: tuple[str, ...] = ()  # SPACE_ID/KEY, or KEY for that of any space; empty: all
    lists: dict[str, str] = {}  # audience → the list's name there; without one, the audience's key


class Lists(Sync):
    """Keeps a destination's lists the same as Engage's audiences, for those who allow it: whoever leaves an audience,
    opts out, or changes address, is taken off."""

    facets = ("audience", "consent")

    def __init__(self, name: str, connector: Connector, settings: Settings) -> None:
        self.name, self.connector, self.purpose = name, connector, settings.purpose
        self._settings = settings

    def wanted(self, person: Person) -> Sequence[Want]:
        """On the list of each of its audiences, by its newest address of the kind that the destination likes best."""
        address = person.address(self.connector.kinds)
        if address is None:
            return []
        members = [name for name, membership in person.audiences.items() if membership.member]
        return [want for name in members if (want := self._want(address, name))]

    def _want(self, address: str, name: str) -> Want | None:
        key, settings = name.rpartition("/")[2], self._settings
        if settings.audiences and not {name, key} & set(settings.audiences):
            return None
        thing = settings.lists.get(name) or settings.lists.get(key) or key
        purpose = settings.purposes.get(name) or settings.purposes.get(key) or self.purpose
        return Want(address, "set_membership", f"list:{thing}", True, purpose)


def build(app: Any, settings: dict[str, Any]) -> list[Processor]:
    """[processors.audiences]: `destinations`, and a table for each that needs settings."""
    found, rest = app.destinations("audiences", settings, Settings)
    toml.known("processors.audiences", rest, ("destinations",))
    syncs = [Lists(*one) for one in found]
    for (name, connector, own), sync in zip(found, syncs, strict=True):
        if not can(connector, "set_membership"):
            raise ConfigError(f"processors.{name}: connectors.{connector.name} cannot set_membership")
        app.purposes(f"processors.{name}", [sync.purpose, *own.purposes.values()])
    return [Audiences(), *syncs]


def computation(event: Event) -> Computation:
    """What the event's `context.personas` is about. Raises Skip for a class or key that cannot be told.

    The docs print an id where real events carry the key (facts §3.1): then the property that names it decides."""
    personas, properties = event.context["personas"], event.properties
    computed, key = _text(personas, "computation_id"), _text(personas, "computation_key")
    if key not in _values(event):
        key = _text(properties, "audience_key") or _text(properties, "trait_key") or key
    if not key:
        raise Skip("no_computation_key")
    kind = _CLASSES.get(_text(personas, "computation_class") or computed[:3])
    if kind is None:
        raise Skip("unknown_computation_class")
    if kind == "audience" and key.startswith("j_o_"):
        kind = "journey"
    return Computation(kind, key, _text(personas, "space_id") or _text(personas, "namespace"), computed)


def membership(event: Event, about: Computation) -> bool | None:
    """Segment's own rule, a strict boolean under the key (facts §3.2); else the texts "true" and "false" (journeys
    v1); else, for a track, what its name says; else that the step of a journey was taken. None: nothing is said."""
    value = _values(event).get(about.key)
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower())
    if isinstance(value, bool):
        return value
    if event.type != "track" or about.key in _values(event):
        return None
    word = (event.event or "").rpartition(" ")[2].lower()
    return {"entered": True, "exited": False}.get(word, True if about.kind == "journey" else None)


def _values(event: Event) -> dict[str, Any]:
    return event.properties if event.type == "track" else event.traits


def _text(of: dict[str, Any], name: str) -> str:
    value = of.get(name)
    return value if isinstance(value, str) else ""


_CLASSES = {
    "audience": "audience",
    "aud": "audience",  # the beginning of computation_id, where the class is missing
    "journey": "journey",
    "journey_step": "journey",
    "trait": "computed",
    "computed_trait": "computed",
    "tra": "computed",
}
