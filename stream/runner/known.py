"""Known: the held lanes of this member's partitions, in memory: which they are, and which one is due."""

import heapq
from collections.abc import Collection, Iterable, Iterator

from stream.message import Partition
from stream.store.lanes import Lane


class Known:
    """As the store has them: a lane is added once its row is there, and removed once that is gone."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._due: list[tuple[float, str]] = []  # stale where `_waiting` says otherwise
        self._waiting: dict[str, float] = {}  # of those that are not at their turn

    def __len__(self) -> int:
        return len(self._lanes)

    def __contains__(self, name: str) -> bool:
        return name in self._lanes

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def get(self, name: str) -> Lane | None:
        """The lane, if it is held."""
        return self._lanes.get(name)

    def keep(self, lane: Lane) -> None:
        """The lane is held, and due then."""
        self._lanes[lane.name] = lane
        if self._waiting.get(lane.name) != lane.due:
            self._waiting[lane.name] = lane.due
            heapq.heappush(self._due, (lane.due, lane.name))

    def remove(self, name: str) -> None:
        """The lane is not held any more."""
        self._lanes.pop(name, None)
        self._waiting.pop(name, None)

    def forget(self, partitions: Collection[Partition]) -> None:
        """These partitions are another member's."""
        for lane in [lane for lane in self._lanes.values() if lane.partition in partitions]:
            self.remove(lane.name)

    def load(self, lanes: Iterable[Lane]) -> None:
        """Those of partitions that were just assigned."""
        for lane in lanes:
            self.keep(lane)

    @property
    def next(self) -> float | None:
        """When the next one is due."""
        while self._due and self._waiting.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def due(self, now: float) -> Iterator[str]:
        """The lanes that are due now, each once until it is kept again."""
        while (due := self.next) is not None and due <= now:
            _, name = heapq.heappop(self._due)
            del self._waiting[name]
            yield name
