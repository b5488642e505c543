"""Segment asks that somebody be forgotten: tombstones at once, erasure by the engine (design §8; facts §1.10, §5).

Segment sends one delete for each source, with different messageIds; each is a request of its own, and they are
harmless together. Younger events let the person return: the wire does not say whether they are suppressed.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from stream import toml
from stream.connector import Connector
from stream.errors import Dead
from stream.events import Event
from stream.person import Person
from stream.processor import Processor, Projection, Sync, Want


class Deletion(Projection):
    """Obeys every delete: the receiver keeps those that nobody vouched for in segment.invalid, so that whatever came
    into the topic is Segment's or an operator's. One that names nobody is kept as dead: it must not vanish."""

    name = "deletion"
    topics = ("delete",)

    def subjects(self, event: Event) -> tuple[str, ...]:
        """It has no rows."""
        return ()

    def handle(self, event: Event) -> None:
        """Forgets whom the event names. userId, userID and user_id are one (facts §1.10); Functions may name an
        anonymousId, alone or beside it."""
        if event.user is None and event.anonymous is None:
            raise Dead("no_subject")
        authority = "operator" if event.authority == "operator" else "segment"
        request = event.message_id
        if event.user is not None:
            self.forget(event.user, event.time, request, authority)
        if event.anonymous is not None:
            # A request of its own: named together is not yet linked, and a request is about one person.
            own = request if event.user is None else f"{request}#anonymous"
            self.forget(event.anonymous, event.time, own, authority)


class Settings(Struct, frozen=True):
    """[processors.deletion.DESTINATION] has no settings of its own."""


class Forgotten(Sync):
    """Deletes people at a destination: every address that it was ever told of, for as long as it takes. What cannot
    delete leaves the receipt `unsupported`."""

    deletes = True
    facets = ("deletion",)

    def __init__(self, name: str, connector: Connector, settings: Settings) -> None:
        self.name, self.connector = name, connector

    def wanted(self, person: Person) -> Sequence[Want]:
        """The addresses that are still open there."""
        return [Want(address, "delete_person", "person") for address in person.deletion]


def build(app: Any, settings: dict[str, Any]) -> list[Processor]:
    """[processors.deletion]: `destinations`."""
    found, rest = app.destinations("deletion", settings, Settings)
    toml.known("processors.deletion", rest, ("destinations",))
    return [Deletion(), *(Forgotten(*one) for one in found)]
