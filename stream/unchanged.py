"""Unchanged: who was as wanted when last looked at, and of whom nothing has changed since.

What is wanted is a plain function of a person (design §5), and what is allowed one of what they said; so whoever is
alone (store/alone.py) need not be looked at again in this process, by the same code with the same configuration, while
the stamp of all that lies under them is the same. Everybody else always is. It is forgotten with the process.
"""

from array import array

from stream.looking import Apart

_EMPTY = array("q")
_BUCKETS = 1 << 16  # a million people: some 15 MB


class Unchanged:
    """The stamps of everybody who was as wanted, of one sync: those that the last walk left, and those of this one."""

    def __init__(self) -> None:
        self._known: dict[int, array[int]] = {}
        self._next: dict[int, array[int]] = {}

    def knows(self, stamp: int) -> bool:
        """Was whoever has this stamp as wanted?"""
        return stamp in self._known.get(stamp % _BUCKETS, _EMPTY)

    def note(self, apart: Apart) -> None:
        """Remembers those who have not changed, and those who turned out to be as wanted."""
        for subject in apart.unchanged:
            self._remember(apart.alone[subject].stamp)
        for look in apart.looks:
            if not look.differs and look.error is None:
                self._remember(apart.alone[look.person].stamp)

    def walked(self) -> None:
        """A walk has ended: what it did not see is forgotten."""
        self._known, self._next = self._next, {}

    def _remember(self, stamp: int) -> None:
        self._next.setdefault(stamp % _BUCKETS, array("q")).append(stamp)
