"""Handling: from deliveries to the changes of a batch, with an author's plain functions in between."""

import traceback
from collections.abc import Callable, Iterable

from msgspec import Struct

from stream import errors
from stream.core.sheet import Key, Missing, Sheet
from stream.events import Event
from stream.message import Delivery
from stream.processor import Projection
from stream.store import Held

APPLIED = "applied"
HELD = "held"


class Fate(Struct, frozen=True):
    """How one delivery ended: "applied", "skipped:<reason>", or "held" with what is to be held."""

    name: str
    held: Held | None = None


class Handling:
    """One projection on one sheet: calls it per event, in order, and knows what rows it lacks."""

    def __init__(self, projection: Projection, sheet: Sheet, clock: Callable[[], float]) -> None:
        self.sheet = sheet
        self._projection = projection.bound_to(sheet)
        self._tables = [table.name for table in projection.tables().values()]
        self._clock = clock

    def keys(self, event: Event) -> list[Key]:
        """The rows to load ahead of this event."""
        if not self._tables:
            return []
        try:
            subjects = self._projection.subjects(event)
        except Exception:  # handle() will meet the same, and that ends the delivery
            return []
        if len(subjects) == 1 and len(self._tables) == 1:
            return [(self._tables[0], subjects[0])]
        return [(table, subject) for table in self._tables for subject in subjects]

    def handle(self, delivery: Delivery, event: Event) -> Fate:
        """Handles one event; what it put is on the sheet if it was applied. Raises Missing for a row not loaded."""
        sheet = self.sheet
        try:
            refused = self._begin(event)
            if refused:
                self._projection.refused(event)
            else:
                self._projection.handle(event)
        except errors.Skip as skip:
            sheet.drop()
            return Fate(f"skipped:{skip.reason}")
        except Exception as error:  # the one place where an author's bug is met: it ends one delivery, named
            sheet.drop()
            return Fate(HELD, self._hold(delivery, event, error))
        except Missing:
            sheet.drop()
            raise
        sheet.keep()
        return _REFUSED if refused else _APPLIED

    def scout(self, ahead: Iterable[Event]) -> list[Key]:
        """The rows that these events lack, found by handling them for nothing."""
        lacking: list[Key] = []
        for event in ahead:
            try:
                self._begin(event)
                self._projection.handle(event)
            except Missing as missing:
                lacking.append(missing.key)
            except Exception:
                continue
            finally:
                self.sheet.drop()
        return lacking

    def _begin(self, event: Event) -> bool:
        """Is it refused, being older than its subject's tombstone?"""
        if not self.sheet.tombstones:  # then its time does not matter here
            self.sheet.begin(0.0)
            return False
        self.sheet.begin(event.time)
        return event.type != "delete" and self.sheet.forgotten(event.subject, event.time)

    def _hold(self, delivery: Delivery, event: Event, error: Exception) -> Held:
        reason = error.reason if isinstance(error, errors.Dead) else f"bug:{type(error).__name__}"
        subject, time = about(delivery, event)
        return Held(
            processor=self._projection.name,
            delivery=delivery,
            subject=subject,
            time=time,
            reason=reason,
            trace=trace_of(error),
            since=self._clock(),
        )


def about(delivery: Delivery, event: Event) -> tuple[str, float]:
    """Whom a held delivery is about, and its event's time."""
    try:
        return event.subject, event.time
    except Exception:  # bytes that some other producer wrote to the topic
        return f"message:{delivery.message.key.decode('utf-8', 'replace')}", delivery.time


def trace_of(error: Exception) -> str:
    """Where it was raised. Its text may quote personal data: it lies beside the bytes it came from, and is erased with
    them."""
    return "".join(traceback.format_exception(error, limit=-8))[-4_000:]


_APPLIED = Fate(APPLIED)
_REFUSED = Fate("skipped:deleted")
