"""One at a time per key, many keys at once."""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Taken(Struct, Generic[T], frozen=True):
    """What is being worked on of one key: one item, or where a lane joins, all that waited. Never empty."""

    key: str
    items: list[T]


class Lanes(Generic[T]):
    """Items waiting in order behind their key. A key is ready, busy (taken and not yet done), or put off until a time;
    ready keys come in the order in which they became so. `joins`: all that waits of a key is taken together."""

    def __init__(self, joins: bool = False) -> None:
        self._joins = joins
        self._waiting: dict[str, deque[T]] = {}  # never an empty one
        self._ready: OrderedDict[str, None] = OrderedDict()  # a dict is slow to pop its first
        self._busy: set[str] = set()
        self._put_off: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # of those put off; stale where that says otherwise
        self._amount = 0

    def __len__(self) -> int:
        """How many items wait, those that are taken not among them."""
        return self._amount

    @property
    def keys(self) -> int:
        """How many keys have items that wait."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """How many keys are taken."""
        return len(self._busy)

    @property
    def ready(self) -> bool:
        """Is a key ready, of those that are not put off?"""
        return bool(self._ready)

    def waiting(self, key: str) -> int:
        """How many items of this key wait."""
        items = self._waiting.get(key)
        return len(items) if items else 0

    def put(self, key: str, item: T) -> None:
        """Puts an item behind the others of its key."""
        self._amount += 1
        items = self._waiting.get(key)
        if items is not None:
            items.append(item)
            return
        self._waiting[key] = deque((item,))
        if key not in self._busy:
            self._ready[key] = None

    def take(self, now: float, new_first: bool = False) -> Taken[T] | None:
        """The next key that is ready becomes busy; None where none is. Each take ends in one done() or again().
        `new_first`: one that was put off only when no other is ready."""
        if self._heap and not (new_first and self._ready):
            self._wake(now, new_first)
        if not self._ready:
            return None
        key = self._ready.popitem(last=False)[0]
        items = self._waiting[key]
        if self._joins or len(items) == 1:
            del self._waiting[key]
            taken = list(items)
        else:
            taken = [items.popleft()]
        self._amount -= len(taken)
        self._busy.add(key)
        return Taken(key, taken)

    def done(self, key: str) -> None:
        """What was taken has ended: what waits behind it is ready."""
        self._busy.remove(key)
        if key in self._waiting:
            self._ready[key] = None

    def again(self, taken: Taken[T], due: float) -> None:
        """What was taken goes back to the front, and its key is put off until `due`."""
        key = taken.key
        self._busy.remove(key)
        self._waiting.setdefault(key, deque()).extendleft(reversed(taken.items))
        self._amount += len(taken.items)
        self._put_off[key] = due
        heapq.heappush(self._heap, (due, key))

    def drop(self, key: str) -> list[T]:
        """Takes out all that waits of a key, in order. A busy key stays busy until it is done."""
        items = self._waiting.pop(key, None)
        if items is None:
            return []
        self._amount -= len(items)
        self._ready.pop(key, None)
        self._put_off.pop(key, None)
        return list(items)

    def discard(self, gone: Callable[[T], bool]) -> int:
        """Takes out every waiting item of which this is true (its partition was revoked); how many those were."""
        before = self._amount
        for key, items in list(self._waiting.items()):
            kept = deque(item for item in items if not gone(item))
            self._amount -= len(items) - len(kept)
            if kept:
                self._waiting[key] = kept
            else:
                del self._waiting[key]
                self._ready.pop(key, None)
                self._put_off.pop(key, None)
        return before - self._amount

    def due(self) -> float | None:
        """When the next key that is put off will be ready; None where none is put off."""
        heap, put_off = self._heap, self._put_off
        while heap and put_off.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _wake(self, now: float, one: bool) -> None:
        heap, put_off = self._heap, self._put_off
        while heap and heap[0][0] <= now:
            due, key = heapq.heappop(heap)
            if put_off.get(key) == due:
                del put_off[key]
                self._ready[key] = None
                if one:
                    return
