"""How far has a partition been dealt with? Deliveries close in any order, and the position never passes an open one."""

from collections import deque

from msgspec import Struct


class Passed(Struct, frozen=True):
    """What lies before the first open delivery and is not yet written: the position, and how many ended in which
    fate."""

    position: int
    fates: dict[str, int]


class Tracker:
    """One partition, while one member has it. What it says is written one at a time: passed(), commit, written()."""

    def __init__(self, position: int) -> None:
        self.position = position
        """As written: nothing before it is read again."""
        self.next = position
        """The smallest offset that can be opened. A smaller one was opened before."""
        self._order: deque[int] = deque()
        self._open: set[int] = set()
        self._closed: dict[int, str] = {}
        self._fates: dict[str, int] = {}

    @property
    def amount(self) -> int:
        """How many are open."""
        return len(self._open)

    def open(self, offset: int) -> None:
        """A delivery is here. Offsets ascend, with gaps. Raises ValueError for one that came before."""
        if offset < self.next:
            raise ValueError(f"offset {offset} is opened after {self.next - 1}")
        self.next = offset + 1
        self._order.append(offset)
        self._open.add(offset)

    def close(self, offset: int, fate: str) -> None:
        """A delivery has ended, once and for all. Raises KeyError for one that is not open."""
        self._open.remove(offset)
        self._closed[offset] = fate

    def passed(self) -> Passed:
        """All that may be written now; again whole, if it was not written."""
        order, closed, fates = self._order, self._closed, self._fates
        while order and order[0] in closed:
            fate = closed.pop(order.popleft())
            fates[fate] = fates.get(fate, 0) + 1
        return Passed(order[0] if order else self.next, fates.copy())

    def written(self, passed: Passed) -> None:
        """That much is committed, and will not be said again."""
        self.position = passed.position
        for fate, amount in passed.fates.items():
            self._fates[fate] -= amount
            if not self._fates[fate]:
                del self._fates[fate]
