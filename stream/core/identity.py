"""Which identifiers are one person. Facts never move: links are kept as they came, and who owns whom is computed when
read, so that merges commute and can be undone (design §8; facts §8).

A link is a pair of an anonymous subject (or an alias) and another one, with the earliest time at which they were seen
together.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import cache

Pair = tuple[str, float]
"""The other subject of a link, and the earliest time."""


def owner(pairs: Sequence[Pair], max_links: int) -> str | None:
    """Whom a subject with these links belongs to: the earliest. Nobody, if it has none, or more than `max_links`
    different ones: then it is shared, a kiosk or a test account."""
    if not pairs or len({other for other, _ in pairs}) > max_links:
        return None
    return min(pairs, key=_by_time)[0]


def keep(pairs: Iterable[Pair], limit: int) -> list[Pair]:
    """The `limit` earliest of these links, each other subject once with its earliest time, in order.

    Whatever order links come and are cut in, the same stay. A limit above `max_links` still tells who is shared."""
    earliest: dict[str, float] = {}
    for other, time in pairs:
        earliest[other] = min(time, earliest.get(other, time))
    return sorted(earliest.items(), key=_by_time)[:limit]


def person_key(subjects: Collection[str]) -> str:
    """The name of a person: its smallest user subject, else its smallest subject. There must be one at least."""
    return min((subject for subject in subjects if kind(subject) == "user"), default="") or min(subjects)


def linkable(identifier: str, never_link: tuple[str, ...]) -> bool:
    """May this identifier link? Not the ones of `[identity] never_link`, in whatever case, and none of zeros and
    dashes only: phones without an advertising id send those, and Segment blocks them by default (facts §8)."""
    return identifier.lower() not in _lowered(never_link) and bool(identifier.strip("0-"))


def may_link(subject: str, other: str, never_link: tuple[str, ...]) -> bool:
    """May this pair ever count? Only with a user, and only between two that stand for somebody."""
    return linkable(identifier(subject), never_link) and may_own(other, never_link)


def may_own(subject: str, never_link: tuple[str, ...]) -> bool:
    """Can others be this subject? Only users can, and not those that stand for nobody ("null", "-1")."""
    return kind(subject) == "user" and linkable(identifier(subject), never_link)


def kind(subject: str) -> str:
    """user, anon, group or message: what sort of identifier a subject is, in whatever space."""
    return subject.partition(":")[0].rpartition("/")[2]


def identifier(subject: str) -> str:
    """A subject's identifier as it came."""
    return subject.partition(":")[2]


@cache
def _lowered(values: tuple[str, ...]) -> frozenset[str]:
    return frozenset(value.lower() for value in values)


def _by_time(pair: Pair) -> tuple[float, str]:
    return (pair[1], pair[0])
