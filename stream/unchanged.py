"""Unchanged: who was as wanted when last looked at, and of whom nothing has changed since.

What is wanted is a plain function of a person (design §5), and what is allowed one of what they said; so whoever is
alone (store/alone.py) need not be looked at again in this process, by the same code with the same configuration, while
the stamp of all that lies under them is the same. Everybody else always is. It is forgotten with the process.
"""

from array import array
from collections.abc import Iterable, Mapping

from stream.looking import Look
from stream.store.alone import Alone

_BUCKETS = 1 << 16  # a million people: some 15 MB


class Unchanged:
    """The stamps of everybody who was as wanted, of one sync: those that the last walk left, and those of this one."""

    def __init__(self) -> None:
        self._known: dict[int, array[int]] = {}
        self._next: dict[int, array[int]] = {}

    def among(self, alone: Mapping[str, Alone]) -> set[str]:
        """Those who were as wanted, and have not changed. They are remembered again."""
        known, empty = self._known, array("q")
        found = {s for s, one in alone.items() if one.stamp in known.get(one.stamp % _BUCKETS, empty)}
        for subject in found:
            self._remember(alone[subject].stamp)
        return found

    def note(self, looks: Iterable[Look], before: Mapping[str, Alone], after: Mapping[str, Alone]) -> None:
        """Remembers those who turned out to be as wanted, and did not change while they were looked at."""
        for look in looks:
            one, still = before.get(look.person), after.get(look.person)
            if one is None or still is None or one.stamp != still.stamp or look.differs or look.error is not None:
                continue
            if set(look.addresses) <= set(one.addresses):
                self._remember(one.stamp)

    def walked(self) -> None:
        """A walk has ended: what it did not see is forgotten."""
        self._known, self._next = self._next, {}

    def _remember(self, stamp: int) -> None:
        self._next.setdefault(stamp % _BUCKETS, array("q")).append(stamp)
