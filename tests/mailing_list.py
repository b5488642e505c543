"""What a mailing list's API is asked, and what its lists and people look like afterwards. No I/O: tests/destination.py
serves it."""

import json
from typing import Any
from urllib.parse import unquote

from msgspec import Struct


class Seen(Struct, frozen=True):
    """One request as it came. `at`: the loop's time."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def parts(self) -> list[str]:
        """What stands between the slashes of the path, decoded."""
        return [unquote(part) for part in self.path.partition("?")[0].split("/")[1:]]

    @property
    def about(self) -> tuple[str, ...]:
        """The ids of the people whom it names."""
        match self.parts:
            case ["lists", _, "members", person] | ["people", person, *_]:
                return (person,)
            case ["lists", _, "members"]:
                return (*self.json.get("add", ()), *self.json.get("remove", ()))
            case ["events"] if isinstance(found := self.json, dict):
                return tuple(str(found[name]) for name in ("userId", "anonymousId") if found.get(name))[:1]
            case _:
                return ()


class MailingList:
    """The state: who is on which list, what is known of whom, and the events, in order."""

    def __init__(self) -> None:
        self.lists: dict[str, set[str]] = {}
        self.people: dict[str, Any] = {}
        self.consents: dict[str, dict[str, Any]] = {}
        self.events: list[Any] = []

    def has(self, name: str, person: str) -> bool:
        """Is this id on that list?"""
        return person in self.lists.get(name, ())

    def do(self, seen: Seen) -> int:
        """Does what it is asked; the status to answer with."""
        match [seen.method, *seen.parts]:
            case ["PUT", "lists", name, "members", person]:
                self.lists.setdefault(name, set()).add(person)
            case ["DELETE", "lists", name, "members", person]:
                self.lists.setdefault(name, set()).discard(person)
            case ["POST", "lists", name, "members"]:
                members = self.lists.setdefault(name, set())
                members.update(seen.json.get("add", ()))
                members.difference_update(seen.json.get("remove", ()))
            case ["PUT", "people", person]:
                self.people[person] = seen.json
            case ["PUT", "people", person, "consents", name]:
                self.consents.setdefault(person, {})[name] = seen.json["value"]
            case ["DELETE", "people", person]:
                return self._forget(person)
            case ["POST", "events"]:
                self.events.append(seen.json)
            case _:
                return 404
        return 200

    def _forget(self, person: str) -> int:
        on = [members for members in self.lists.values() if person in members]
        known = bool(on) or person in self.people or person in self.consents
        self.people.pop(person, None)
        self.consents.pop(person, None)
        for members in on:
            members.discard(person)
        return 200 if known else 404
