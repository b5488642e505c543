"""Facts: the rows that profiles, audiences and consent remember of one subject, and what they are together.

They live here, not in the processors, because a Person is computed from them. Processors decide how events become
facts. Rows are changed in place: each `Table.get` gives a copy of one's own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from stream.core.register import Register, merged, same, younger
from stream.events import Event


class Profile(Struct, omit_defaults=True, gc=False):
    """What is known of one subject. Registers by name; capped where a sender could go on for ever, the newest kept."""

    first_seen: float
    last_seen: float
    traits: dict[str, Register] = {}  # null is a value: it replaces (facts §9)
    identifiers: dict[str, Register] = {}  # "email:a@b.c", "phone:…", "TYPE:ID" of context.externalIds → True
    groups: dict[str, Register] = {}  # group id → True
    context: dict[str, Register] = {}  # "device", "campaign": the whole object, of the last event that had it
    types: dict[str, int] = {}  # counts by message type, other than track
    events: dict[str, int] = {}  # counts of tracks by event name
    other: int = 0  # tracks whose name found no room in `events`
    recent: str = ""  # of the last messages (core/recent.py)

    def without(self, time: float) -> "Profile | None":
        """What is left when everything up to `time` is forgotten. Counts are not split by time: they start anew, and
        so does first seen, at the last sighting."""
        if self.first_seen > time:
            return self
        if self.last_seen <= time:
            return None
        return Profile(
            first_seen=self.last_seen,
            last_seen=self.last_seen,
            traits=younger(self.traits, time),
            identifiers=younger(self.identifiers, time),
            groups=younger(self.groups, time),
            context=younger(self.context, time),
        )


class Membership(Register, frozen=True):
    """Is (value) or is not a member of an audience or journey, as an event of Engage last said."""

    kind: str  # "audience" or "journey"
    computation: str = ""  # computation_id


class Memberships(Struct, omit_defaults=True, gc=False):
    """What Engage computed of one subject. Named SPACE_ID/KEY, since two Engage spaces may use the same key."""

    audiences: dict[str, Membership] = {}
    computed: dict[str, Register] = {}  # computed traits

    def without(self, time: float) -> "Memberships | None":
        """What is left when everything up to `time` is forgotten."""
        left = Memberships(audiences=younger(self.audiences, time), computed=younger(self.computed, time))
        return left if left.audiences or left.computed else None


class Statement(Register, frozen=True):
    """What somebody said about being contacted or measured, and the proof: which event of which source, when."""

    source: str
    event: str  # its name, or its type where it has none


class Consents(Struct, omit_defaults=True, gc=False):
    """What one subject consented to."""

    categories: dict[str, Statement] = {}  # only CATEGORIES: one register holds the whole map, category → bool
    subscriptions: dict[str, Statement] = {}  # channel, channel:address or list:id → a word of SUBSCRIPTION

    def without(self, time: float) -> "Consents | None":
        """What is left when everything up to `time` is forgotten."""
        left = Consents(categories=younger(self.categories, time), subscriptions=younger(self.subscriptions, time))
        return left if left.categories or left.subscriptions else None


CATEGORIES = "categories"
"""The one name in Consents.categories."""

SUBSCRIPTION = ("subscribed", "did-not-subscribe", "unsubscribed")
"""From the mildest to the strictest (facts §4.2)."""

TABLES: dict[str, type[Struct]] = {"profiles": Profile, "audiences": Memberships, "consent": Consents}
"""Table → what its rows are."""


def preferences(event: Event) -> dict[str, bool] | None:
    """Category → yes or no, of `context.consent`, whatever the event's type; None if it carries none.

    {} is a no to everything, and so is what is no map at all; what is not true is no."""
    consent = event.context.get("consent")
    found = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if found is None:
        return None
    return {name: value is True for name, value in found.items()} if isinstance(found, dict) else {}


def profile(rows: Iterable[Profile]) -> Profile | None:
    """The profile of several subjects together: newest registers, sums of counts, widest sight. None of none."""
    found = list(rows)
    if len(found) <= 1:
        return found[0] if found else None
    return Profile(
        first_seen=min(row.first_seen for row in found),
        last_seen=max(row.last_seen for row in found),
        traits=merged(row.traits for row in found),
        identifiers=merged(row.identifiers for row in found),
        groups=merged(row.groups for row in found),
        context=merged(row.context for row in found),
        types=_sum(row.types for row in found),
        events=_sum(row.events for row in found),
        other=sum(row.other for row in found),
    )


def memberships(rows: Iterable[Memberships]) -> Memberships:
    """The memberships of several subjects together: the newest of each."""
    found = list(rows)
    if len(found) == 1:
        return found[0]
    return Memberships(
        audiences=merged(row.audiences for row in found),
        computed=merged(row.computed for row in found),
    )


def differ(one: Struct, other: Struct) -> bool:
    """Do two rows of one table say different things of the same name, or know their subject by different addresses of
    one kind? Then the times of their registers matter."""
    for name in one.__struct_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            both = [(mine[key], theirs[key]) for key in mine.keys() & theirs.keys()]
            if any(isinstance(a, Register) and not same(a.value, b.value) for a, b in both):
                return True
    return isinstance(one, Profile) and isinstance(other, Profile) and _known_otherwise(one, other)


def newest_of_kinds(identifiers: Mapping[str, Register]) -> dict[str, str]:
    """By kind (email, phone …) the identifier that was said last."""
    ordered = sorted(identifiers, key=lambda name: (-identifiers[name].time, name))
    return {name.partition(":")[0]: name for name in reversed(ordered)}


def _known_otherwise(one: Profile, other: Profile) -> bool:
    mine, theirs = newest_of_kinds(one.identifiers), newest_of_kinds(other.identifiers)
    return any(mine[kind] != theirs[kind] for kind in mine.keys() & theirs.keys())


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
