"""Person: what is known of somebody, computed when read from the facts of all subjects that are linked (design §8)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from stream import facts
from stream.core.identity import identifier, kind, person_key
from stream.core.register import Register, newer
from stream.facts import CATEGORIES, Consents, Profile, Statement

Links = Mapping[str, tuple[str, float]]
"""Subject → whom it belongs to, and since when they are known to be one."""

Answer = Literal["yes", "no", "conflict", "unknown"]


class Proof(Struct, frozen=True):
    """Which event said so: its messageId, time, source and name (or type)."""

    message_id: str
    time: float
    source: str
    event: str


class Consent(Struct, frozen=True):
    """What a person says about one category or subscription. `status` is yes or no for a category, a word of
    facts.SUBSCRIPTION for a subscription, or `conflict` (treated as no). The proofs that count, newest first."""

    status: str
    proofs: tuple[Proof, ...]


class Membership(Struct, frozen=True):
    """Whether a person is in an audience or journey, and when Engage last said so: if a member, when it entered."""

    member: bool
    kind: str
    time: float
    computation: str = ""


class Person(Struct, frozen=True, kw_only=True):
    """Somebody, now. Mappings of what is not known are empty; `deleted` is the newest tombstone of one, `deletion`
    (for a sync alone) the addresses that its destination must still delete."""

    key: str
    subjects: tuple[str, ...]
    identifiers: dict[str, tuple[str, ...]] = {}  # user_id, anonymous_id, email, phone …, the newest first
    traits: dict[str, Any] = {}
    groups: tuple[str, ...] = ()
    first_seen: float | None = None
    last_seen: float | None = None
    counts: dict[str, int] = {}  # by message type
    events: dict[str, int] = {}  # by name of the track; those beyond the cap are in counts alone
    context: dict[str, Any] = {}  # device, campaign: of the last event that had them
    audiences: dict[str, Membership] = {}  # by SPACE_ID/KEY
    computed: dict[str, Any] = {}  # computed traits, by SPACE_ID/KEY
    consents: dict[str, Consent] = {}  # by category
    consent_given: bool = False  # was there ever a consent object? Then a category that is missing from it is no
    subscriptions: dict[str, Consent] = {}  # by channel, channel:address, list:id
    deleted: float | None = None
    deletion: tuple[str, ...] = ()

    def member(self, audience: str) -> bool:
        """Is the person in this audience or journey: SPACE_ID/KEY, or KEY for that of any space?"""
        return any(
            membership.member and audience in (name, name.partition("/")[2])
            for name, membership in self.audiences.items()
        )

    def addresses(self, kinds: Iterable[str]) -> list[str]:
        """Every address of these kinds (`email:a@b.c`), kinds in their order, the newest of a kind first."""
        return [f"{kind}:{value}" for kind in kinds for value in self.identifiers.get(kind, ())]

    def address(self, kinds: Iterable[str]) -> str | None:
        """The newest address of the first of these kinds that the person has one of."""
        return next(iter(self.addresses(kinds)), None)

    def consent(self, category: str) -> Answer:
        """What the person says about a category (case-sensitive, facts §4.1)."""
        found = self.consents.get(category)
        if found is None:
            return "no" if self.consent_given else "unknown"
        match found.status:
            case "yes" | "no" | "conflict" as status:
                return status
            case _:
                return "unknown"


def assemble(
    subjects: Iterable[str], rows: Mapping[str, Mapping[str, Any]], links: Links, tombstones: Mapping[str, float]
) -> Person:
    """The person that these linked subjects (one at least) are.

    `rows` by table (facts.TABLES) and subject; what others hold is ignored. Where a subject has a tombstone, what is
    not younger does not count, erased or not."""
    known = sorted(set(subjects))
    deleted = [tombstones[subject] for subject in known if subject in tombstones]
    profile = facts.profile(_left("profiles", known, rows, tombstones).values())
    memberships = facts.memberships(_left("audiences", known, rows, tombstones).values())
    return Person(
        key=person_key(known),
        subjects=tuple(known),
        identifiers=_identifiers(known, profile),
        audiences={
            name: Membership(register.value, register.kind, register.time, register.computation)
            for name, register in memberships.audiences.items()
        },
        computed={name: register.value for name, register in memberships.computed.items()},
        deleted=max(deleted, default=None),
        **_consents(_left("consent", known, rows, tombstones), links),
        **(_profile(profile) if profile else {}),
    )


def _left(
    table: str, subjects: Sequence[str], rows: Mapping[str, Mapping[str, Any]], tombstones: Mapping[str, float]
) -> dict[str, Any]:
    found = rows.get(table, {})
    left = {}
    for subject in subjects:
        row = found.get(subject)
        if row is not None and subject in tombstones:
            row = row.without(tombstones[subject])
        if row is not None:
            left[subject] = row
    return left


def _profile(profile: Profile) -> dict[str, Any]:
    tracks = sum(profile.events.values()) + profile.other
    return {
        "traits": {name: register.value for name, register in profile.traits.items()},
        "groups": tuple(_by_newest(profile.groups)),
        "first_seen": profile.first_seen,
        "last_seen": profile.last_seen,
        "counts": profile.types | ({"track": tracks} if tracks else {}),
        "events": profile.events,
        "context": {name: register.value for name, register in profile.context.items()},
    }


def _identifiers(subjects: Sequence[str], profile: Profile | None) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for subject in subjects:
        found.setdefault(_KINDS.get(kind(subject), kind(subject)), {})[identifier(subject)] = None
    registers = profile.identifiers if profile else {}
    for name in _by_newest(registers):
        sort, _, value = name.partition(":")
        found.setdefault(sort, {})[value] = None
    return {sort: tuple(values) for sort, values in found.items()}


def _by_newest(registers: Mapping[str, Register]) -> list[str]:
    return sorted(registers, key=lambda name: (-registers[name].time, name))


def _consents(rows: Mapping[str, Consents], links: Links) -> dict[str, Any]:
    maps = {subject: row.categories[CATEGORIES] for subject, row in rows.items() if row.categories}
    live = _live(maps, links)
    categories = sorted({category for statement in live for category in statement.value})
    names = sorted({name for row in rows.values() for name in row.subscriptions})
    return {
        "consent_given": bool(live),
        "consents": {
            category: _answer(live, ["yes" if statement.value.get(category) else "no" for statement in live])
            for category in categories
        },
        "subscriptions": {name: _subscription(name, rows, links) for name in names},
    }


def _subscription(name: str, rows: Mapping[str, Consents], links: Links) -> Consent:
    said = {subject: row.subscriptions[name] for subject, row in rows.items() if name in row.subscriptions}
    live = _live(said, links)
    return _answer(live, [statement.value for statement in live])


def _answer(live: Sequence[Statement], words: Sequence[str]) -> Consent:
    proofs = tuple(Proof(said.id, said.time, said.source, said.event) for said in live)
    return Consent(words[0] if len(set(words)) == 1 else "conflict", proofs)


def _live(said: Mapping[str, Statement], links: Links) -> list[Statement]:
    """The statements that count, newest first: those that no newer one replaced which was made when the two subjects
    were already known to be one. If several are left and differ, they are a conflict (design §8)."""
    if len(said) <= 1:
        return list(said.values())
    joined = {subject: max(_joined(subject, links), default=float("-inf")) for subject in said}
    left = [
        statement
        for subject, statement in said.items()
        if not any(
            newer(other, statement) and other.time >= max(joined[subject], joined[by]) for by, other in said.items()
        )
    ]
    return sorted(left, key=lambda statement: (statement.time, statement.received, statement.id), reverse=True)


def _joined(subject: str, links: Links) -> Iterator[float]:
    """When a subject, and whom it belongs to (an alias is somebody's in turn), came to the person."""
    passed = {subject}
    while subject in links:
        subject, time = links[subject]
        yield time
        if subject in passed:
            return
        passed.add(subject)


_KINDS = {"user": "user_id", "anon": "anonymous_id", "group": "group_id", "message": "message_id"}
