"""The newest rows of the embedded log, in memory.

Nearly everybody reads at the end, nearly always: that takes no visit to a thread, and is decoded once for all of them.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from stream.log.sqlite_reader import Page, Span
from stream.log.sqlite_rows import Row, deliveries
from stream.message import Delivery, Partition

_BYTES = 1024 * 1024  # of rows: about a second of a thousand events a second
_ROW_BYTES = 64 * 1024  # a larger one is better decoded in a reader's thread


class Tail:
    """What was committed last, of each partition without a gap."""

    def __init__(self, most: int = _BYTES) -> None:
        self._most = most
        self._size = 0
        self._rows: dict[Partition, deque[_Row]] = {}
        self._order: deque[Partition] = deque()  # whose the oldest row is

    def add(self, partition: Partition, row: Row) -> None:
        """A row was committed, behind all others of its partition."""
        rows = self._rows.setdefault(partition, deque())
        one = _Row(partition, row)
        if rows and rows[-1].end != one.first:  # one before it was committed, and nobody heard of it
            self._forget(partition)
        if one.size > _ROW_BYTES:
            self._forget(partition)
            return
        rows.append(one)
        self._order.append(partition)
        self._size += one.size
        while self._size > self._most:
            self._drop(self._order.popleft())

    def pages(self, spans: Sequence[Span], budget: int) -> Mapping[Partition, Page] | None:
        """As a reader would find them; None where it must be asked."""
        if any(not (rows := self._rows.get(span.partition)) or span.position < rows[0].first for span in spans):
            return None
        found: dict[Partition, Page] = {}
        for span in spans:
            found[span.partition] = page = self._page(span, budget)
            budget -= page.size
            if budget <= 0:
                break
        return found

    def clear(self) -> None:
        """Some of it may be gone from the log: a reader knows."""
        self._rows, self._order, self._size = {}, deque(), 0

    def _page(self, span: Span, budget: int) -> Page:
        found: list[Delivery] = []
        size = 0
        for row in self._rows[span.partition]:
            if row.end <= span.position:
                continue
            found += row.deliveries[max(0, span.position - row.first) :]
            size += row.size
            if len(found) >= span.messages or size >= budget:
                break
        return Page(found, size)

    def _forget(self, partition: Partition) -> None:
        while self._rows.get(partition):
            self._drop(partition)
        self._order = deque(one for one in self._order if one != partition)

    def _drop(self, partition: Partition) -> None:
        self._size -= self._rows[partition].popleft().size


class _Row:
    """A row, decoded when it is first read."""

    def __init__(self, partition: Partition, row: Row) -> None:
        _, self.first, self.end, time, data = row
        self.size = len(data)
        self._encoded: tuple[Partition, float, bytes] | None = (partition, time, data)
        self._deliveries: list[Delivery] = []

    @property
    def deliveries(self) -> list[Delivery]:
        """What it holds."""
        if self._encoded is not None:
            partition, time, data = self._encoded
            self._deliveries, self._encoded = list(deliveries(partition, self.first, time, data)), None
        return self._deliveries
