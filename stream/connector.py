"""Connector: what to ask of one remote API. It never opens a socket: it yields requests and is given the answers.

The words: a *destination* is a connector with its settings, `[connectors.NAME]`. A *flow* is one thing asked of it: a
generator of requests. A *verb* is what can be asked of any of them; a connector has those it can do, each a method that
takes the changes that one request may carry and returns a flow. An *address* is how a destination knows somebody
(`email:a@b.c`), a *thing* what it keeps about an address (`list:vip`, `profile`, `consent:email`, `person`).
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec import Meta, Struct

from stream.errors import Dead
from stream.events import Event
from stream.person import Person

Verb = Literal["upsert_profile", "set_membership", "set_consent", "delete_person"]
"""What a sync can have done. A reactor may run any flow, `send_event` among them."""

T = TypeVar("T")


class Request(Struct, frozen=True, kw_only=True):
    """One HTTP request. `destination` is the connector's name, by which limits and pools are found.

    `secrets`: texts in it that nobody may see (masked wherever it is shown). `repeatable`: whether doing it twice is
    the same as doing it once; what is not is never repeated by the client itself after an unclear outcome."""

    destination: str
    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    secrets: tuple[str, ...] = ()
    repeatable: bool = True

    def __repr__(self) -> str:
        return f"Request({self.method} to {self.destination})"  # the rest is secrets and people


class Response(Struct, frozen=True, kw_only=True):
    """An answer below 400. Header names are in lower case. `cut`: the body was longer than the destination's bound."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    cut: bool = False

    def json(self) -> Any:
        """The body as JSON. Raises Dead("bad_response") for what is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError):
            raise Dead("bad_response") from None


Flow = Generator[Request, Response, T]
"""Yields requests, is sent each response, returns what was asked for. Refused is thrown into it; it may raise Retry,
Dead or Skip."""


class Change(Struct, frozen=True):
    """One thing to be made so at a destination.

    `value`: of set_membership and set_consent whether (bool); of upsert_profile the profile (dict); of delete_person
    None. `person` is who it is about, as far as known; None where nobody is left (a deletion, an address of old)."""

    address: str
    thing: str
    value: Any
    person: Person | None = None

    @property
    def kind(self) -> str:
        """`email` of `email:a@b.c`."""
        return self.address.partition(":")[0]

    @property
    def id(self) -> str:
        """`a@b.c` of `email:a@b.c`."""
        return self.address.partition(":")[2]

    @property
    def name(self) -> str:
        """`vip` of the thing `list:vip`; the thing itself where it has no colon."""
        return self.thing.rpartition(":")[2]


class Limits(Struct, frozen=True):
    """What a destination bears, and what is expected of it. Every [connectors.NAME] may set each; a connector's own
    class attribute `limits` is what its vendor documents."""

    timeout_s: Annotated[float, Meta(gt=0, le=300)] = 10.0
    concurrency: Annotated[int, Meta(ge=1, le=1_000)] = 16
    rates: tuple[str, ...] = ()  # "40/s", "1200/min", "10000/h", "100000/day": all of them hold
    allow_private: bool = False  # may its name lead to this machine or a private network?
    max_response_bytes: Annotated[int, Meta(ge=1)] = 1024 * 1024


class Connector(Protocol):
    """One destination. Besides these it has the methods of the verbs that it can do."""

    name: str
    """Of the destination, as in [connectors.NAME]."""
    kinds: tuple[str, ...]
    """Of the addresses that it knows somebody by, best first: of Person.identifiers (`email`, `user_id` …)."""
    limits: Limits
    bulk: Mapping[str, int]
    """Verb → how many changes (of one thing and one direction) one request may carry; 1 for a verb not in it."""


@runtime_checkable
class UpsertsProfiles(Protocol):
    def upsert_profile(self, changes: Sequence[Change]) -> Flow[Any]: ...


@runtime_checkable
class SetsMemberships(Protocol):
    def set_membership(self, changes: Sequence[Change]) -> Flow[Any]: ...


@runtime_checkable
class SetsConsents(Protocol):
    def set_consent(self, changes: Sequence[Change]) -> Flow[Any]: ...


@runtime_checkable
class DeletesPersons(Protocol):
    def delete_person(self, changes: Sequence[Change]) -> Flow[Any]:
        """Somebody who is not there is deleted: a 404 is success."""
        ...


@runtime_checkable
class SendsEvents(Protocol):
    def send_event(self, event: Event) -> Flow[Any]: ...


def can(connector: Connector, verb: str) -> bool:
    """Has the connector this verb?"""
    return callable(getattr(connector, verb, None))
