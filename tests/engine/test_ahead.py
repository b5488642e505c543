"""Rows that a projection did not name ahead: found together, within a bound."""

from msgspec import Struct, structs

from stream import Projection, Table
from stream.batch import Batch
from stream.core.deaths import Deaths
from stream.message import Delivery, Partition
from tests.embedded import Embedded, config, message


class Seen(Struct):
    times: int = 0


class Secretive(Projection):
    """Says that it needs no rows, and reads one for each event."""

    name = "secretive"
    topics = ("track",)
    rows = Table("secretive", Seen)

    def __init__(self, handled: list[str]) -> None:
        self._handled = handled

    def subjects(self, event):
        return ()

    def handle(self, event):
        self._handled.append(event.subject)
        row = self.rows.get(event.subject) or Seen()
        self.rows.put(event.subject, Seen(row.times + 1))


class Loads:
    """A store that notes how much was handled between its loads."""

    def __init__(self, store, handled):
        self.between = []
        self._store, self._handled = store, handled

    async def load(self, keys):
        self.between.append(len(self._handled))
        self._handled.clear()
        return await self._store.load(keys)


async def test_looking_ahead_for_rows_is_bounded_and_takes_few_loads(tmp_path):
    sent = [message("track", 1 + n, userId=f"u{n}", event="A") for n in range(1_000)]
    deliveries = [Delivery(one, Partition("segment.track", 0), n, 1.0) for n, one in enumerate(sent)]
    handled: list[str] = []
    async with Embedded.open(tmp_path, config(tmp_path, [])) as system:
        store = Loads(system.store, handled)
        batch = Batch(Secretive(handled), structs.replace(system.around, store=store), deliveries)
        assert await batch.handle(Deaths())
    assert [fate.name for fate in batch.fates] == ["applied"] * 1_000
    assert len(store.between) == 5
    assert max(store.between) <= 200 + 1 + 200  # what was loaded, the event that misses, and those ahead of it
