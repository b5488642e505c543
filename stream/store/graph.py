"""Graph: who is whom, of pairs and tombstones that were read. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from stream.config import IdentityConfig
from stream.core import identity

Times = tuple[float, float]
"""The first and the last time of a pair."""

Pairs = dict[str, dict[str, Times]]
"""Subject → other → times."""


class Component(Struct, frozen=True):
    """The subjects of one person. `links`: subject → whom it belongs to, and since when that counts."""

    key: str
    subjects: tuple[str, ...]
    links: dict[str, tuple[str, float]] = {}


class Unlinked(Struct, frozen=True):
    """A pair that does not count. `why`: "refused" (one of the two stands for nobody), "shared" (one of them is seen
    with too many), "moved" (the subject belongs to `owner`, who had it earlier)."""

    subject: str
    other: str
    first: float
    last: float
    why: str
    owner: str | None


class Graph:
    """Pairs around some subjects, loaded; pure."""

    def __init__(self, config: IdentityConfig) -> None:
        self.pairs: Pairs = {}
        self.fans: dict[str, list[str]] = {}
        self.tombstones: dict[str, float] = {}
        self._config = config

    def may_own(self, subject: str) -> bool:
        """Can others be this subject?"""
        return identity.may_own(subject, self._config.never_link)

    def owner(self, subject: str) -> tuple[str, float] | None:
        """Who this subject is, and since when that counts; None if nobody else."""
        owner = self.nearest(subject)
        if owner is None or len(self.fans.get(owner, ())) > self._config.max_links:
            return None
        return owner, max(self.pairs[subject][owner][0], self._grave(subject, owner))

    def nearest(self, subject: str) -> str | None:
        """Who owns this subject, unless that one turns out to be shared by too many."""
        pairs = [(other, first) for other, (first, _) in self.alive(subject).items()]
        return identity.owner(pairs, self._config.max_links)

    def alive(self, subject: str) -> dict[str, Times]:
        """The pairs that count: younger than the tombstones, and with somebody."""
        never = self._config.never_link
        return {
            other: times
            for other, times in self.pairs.get(subject, {}).items()
            if times[1] > self._grave(subject, other) and identity.may_link(subject, other, never)
        }

    def unlinked(self, subject: str) -> Iterator[Unlinked]:
        """The pairs of this subject that do not count, and why; not those that a deletion ended."""
        owner = self.owner(subject)
        alive = self.alive(subject)
        for other, (first, last) in sorted(self.pairs[subject].items()):
            if last > self._grave(subject, other) and (owner is None or other != owner[0]):
                why = "refused" if other not in alive else "moved" if owner else "shared"
                yield Unlinked(subject, other, first, last, why, owner[0] if owner else None)

    def components(self, subjects: Iterable[str]) -> dict[str, Component]:
        """The component of each of the subjects."""
        edges: dict[str, set[str]] = {}
        owners: dict[str, tuple[str, float]] = {}
        for subject in self.pairs:
            if owned := self.owner(subject):
                edges.setdefault(subject, set()).add(owned[0])
                edges.setdefault(owned[0], set()).add(subject)
                owners[subject] = owned
        done: dict[str, Component] = {}
        for subject in subjects:
            if subject not in done:
                members = _reach(subject, edges)
                links = {m: owners[m] for m in members if m in owners}
                component = Component(identity.person_key(members), tuple(sorted(members)), links)
                done.update(dict.fromkeys(members, component))
        return {subject: done[subject] for subject in subjects}

    def _grave(self, subject: str, other: str) -> float:
        return grave(self.tombstones, (subject, other))


def grave(tombstones: Mapping[str, float], subjects: Iterable[str]) -> float:
    """The time before which nothing that names all of these subjects is remembered."""
    return max(tombstones.get(subject, float("-inf")) for subject in subjects)


def _reach(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    reached, frontier = {start}, [start]
    while frontier:
        fresh = edges.get(frontier.pop(), set()) - reached
        reached |= fresh
        frontier.extend(fresh)
    return reached
