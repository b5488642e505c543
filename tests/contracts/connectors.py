"""Every connector there is, with what its settings hold: the contract suite (test_connectors.py) runs on each.

A new connector: add a Sample.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from connectors import webhook
from stream.connector import Change, Connector, Flow, Request, Response
from stream.errors import Refused
from stream.events import Event, decode
from stream.message import Message
from stream.person import Person
from tests.destination import TOKEN, config

ROOT = Path(__file__).parent.parent.parent
VERBS = ("upsert_profile", "set_membership", "set_consent", "delete_person", "send_event")
THINGS = {"upsert_profile": "profile", "set_membership": "list:vip", "set_consent": "consent:email"}


class Sample(Struct, frozen=True):
    """A connector as its settings make it. `kind` of the addresses it knows; `secrets` that its settings hold; verbs
    that may be done `once` only."""

    connector: Connector
    kind: str
    secrets: tuple[str, ...]
    once: tuple[str, ...] = ("send_event",)

    def change(self, verb: str, person: str = "ada@example.com", value: Any = True, kind: str = "") -> Change:
        """One change that the verb could be asked for."""
        given = {"upsert_profile": {"plan": "pro"}, "delete_person": None}
        who = Person(key=f"user:{person}", subjects=(f"user:{person}",), traits={"plan": "pro"})
        return Change(f"{kind or self.kind}:{person}", THINGS.get(verb, "person"), given.get(verb, value), who)

    def flow(self, verb: str, *about: Any) -> Flow[Any]:
        """The flow of one verb for these changes, or this event; for an ordinary one where none is given."""
        asked = (about or [event()])[0] if verb == "send_event" else about or [self.change(verb)]
        found: Flow[Any] = getattr(self.connector, verb)(asked)
        return found


def samples() -> dict[str, Sample]:
    """Every connector, with settings that use most of what it has."""
    return {
        "webhook": Sample(webhook.build("crm", _webhook()), "email", (TOKEN,)),
        "webhook that signs, many at once": Sample(
            webhook.build(
                "crm", _webhook(3, bearer="", basic="ada:pass-of-ada", signature="sha256", secret="s1gning-s")
            ),
            "email",
            ("ada:pass-of-ada", "YWRhOnBhc3Mtb2YtYWRh", "s1gning-s"),
        ),
        "webhook with a key in each place": Sample(
            webhook.build("crm", _keys()),
            "email",
            ("key-in-the-header", "key-in-the-url", "key-of-the-verb", "k&y'\"é"),
        ),
        "the example of connectors/README.md": Sample(_example(), "email", ("n3wsletter-key",), ()),
    }


def event(person: str = "ada") -> Event:
    body = {"type": "track", "event": "Signed Up", "userId": person, "messageId": "m1", "properties": {"plan": "pro"}}
    headers = (("source", b"web"), ("received", b"1.0"))
    return decode(Message("segment.track", person.encode(), msgspec.json.encode(body), headers))


def driven(flow: Flow[Any], status: int = 200, body: bytes = b"{}") -> list[Request]:
    """The requests of a flow, each answered so, as the client would; raises what the flow raises."""
    asked: list[Request] = []
    try:
        request = next(flow)
        while True:
            asked.append(request)
            if status < 300:
                request = flow.send(Response(status=status, body=body))
            else:
                request = flow.throw(Refused(status, body))
    except StopIteration:
        return asked


def _webhook(at_once: int = 1, **more: Any) -> dict[str, Any]:
    table = config(9, at_once, **more)
    del table["connector"], table["allow_private"]  # the engine takes these out
    return table


def _keys() -> dict[str, Any]:
    url = "https://api.example/people?key=key-in-the-url"
    verb = {"url": url, "headers": {"X-Token": "key-of-the-verb"}, "body": {"id": "$.id", "key": "k&y'\"é"}}
    return {
        "kinds": ["email", "phone"],
        "headers": {"X-Api-Key": "key-in-the-header", "Accept": "application/json"},
        "secrets": ["key-in-the-url", "k&y'\"é"],
        "upsert_profile": verb,
        "set_membership": {**verb, "body": {"id": "$.id", "on": "$.value", "list": "$.name"}},
    }


def _example() -> Connector:
    text = (ROOT / "connectors" / "README.md").read_text()
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"__name__": "connectors.newsletter"}
    exec(compile(block, "connectors/README.md", "exec"), names)
    built: Connector = names["build"]("newsletter", {"key": "n3wsletter-key"})
    return built


class Forbidden(BaseException):
    """Something was opened, connected or run."""


_FORBIDDEN = ("open", "socket.", "subprocess.", "os.", "sqlite3.", "shutil.", "tempfile.", "urllib.", "http.client.")
_watching = False


def _watch(what: str, _: Any) -> None:
    if _watching and what.startswith(_FORBIDDEN):
        raise Forbidden(what)


sys.addaudithook(_watch)  # Python calls it for whatever opens a file, a socket or a process; it cannot be removed


@contextmanager
def no_io() -> Iterator[None]:
    """Within the block, whatever opens a file, a socket or a process raises Forbidden."""
    global _watching
    _watching = True
    try:
        yield
    finally:
        _watching = False
