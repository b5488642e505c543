"""Any HTTP API, from configuration alone. What can be set: docs/connectors.md."""

import hmac
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from stream import loose_json, toml
from stream.connector import Change, Connector, Flow, Limits, Request
from stream.core import signature, template
from stream.core.template import ABSENT, PLACE, Document, Scope
from stream.errors import ConfigError, Dead, Refused
from stream.events import Event

Many = Annotated[int, Meta(ge=1, le=10_000)]
Status = Annotated[int, Meta(ge=200, le=499)]


class Account(Struct, frozen=True):
    """[connectors.NAME]: what holds for every request, and a table for each verb that the API can do."""

    kinds: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    bearer: str = ""
    basic: str = ""  # "user:password"
    signature: Literal["none", "segment", "sha256"] = "none"
    secret: str = ""  # that signs
    signature_header: str = "X-Signature"
    secrets: tuple[str, ...] = ()  # what else in URLs and bodies nobody may see
    upsert_profile: dict[str, Any] | None = None
    set_membership: dict[str, Any] | None = None
    set_consent: dict[str, Any] | None = None
    delete_person: dict[str, Any] | None = None
    send_event: dict[str, Any] | None = None


class Asked(Struct, frozen=True):
    """[connectors.NAME.VERB], or its part `true` or `false`: one request."""

    url: str
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = {}
    body: Any = ABSENT
    success: tuple[Status, ...] = ()  # none named: 200 to 299
    missing: tuple[Status, ...] = ()  # what says that there is nobody to remove: success as well
    repeatable: bool = True


class Whole(Asked, frozen=True):
    """[connectors.NAME.VERB] of one request."""

    at_once: Many = 1


class Halves(Struct, frozen=True):
    """[connectors.NAME.VERB] of two requests: what makes it so, and what takes it away."""

    true: dict[str, Any]
    false: dict[str, Any]
    at_once: Many = 1


class Recipe:
    """One request, to be filled in."""

    def __init__(self, path: str, asked: Asked, scope: Scope) -> None:
        if again := _AGAIN & {*asked.success, *asked.missing}:
            raise ConfigError(f"{path}: {min(again)} means later, or that a key is wrong, and is always tried again")
        self.method, self.repeatable, self.secrets = asked.method, asked.repeatable, tuple(_hidden(asked.headers))
        self.url = template.Url(f"{path}.url", asked.url, scope)
        self.headers = template.Headers(f"{path}.headers", asked.headers, scope)
        self._body = None if asked.body is ABSENT else template.value(f"{path}.body", asked.body, scope)
        self._success, self._missing = asked.success, asked.missing

    def good(self, status: int) -> bool:
        """Does this status say that it is done?"""
        return status in self._missing or (status in self._success if self._success else status < 300)

    def body(self, document: Document, each: Sequence[Document]) -> bytes | None:
        if self._body is None:
            return None
        found = self._body(document, each)
        if found is ABSENT:
            raise Dead("no_value")
        try:
            return msgspec.json.encode(found)
        except (ValueError, RecursionError):  # a lone surrogate
            raise Dead("bad_value") from None


class Verb:
    """What is asked to do one verb, and for how many changes at once."""

    def __init__(self, path: str, name: str, table: dict[str, Any]) -> None:
        self.at_once, asked = _asked(path, name, table)
        self.shared = _CHANGE if self.at_once == 1 else (*_SHARED, "value") if name in _TWO_WAYS else _SHARED
        scope = Scope(_EVENT) if name == "send_event" else Scope(self.shared, _CHANGE)
        recipes = [Recipe(place, one, scope) for place, one in asked.items()]
        self.gives, self.takes = recipes[0], recipes[-1]


class Credentials:
    """Who is asking: the headers that say so, and the texts that nobody may see."""

    def __init__(self, path: str, account: Account) -> None:
        if account.bearer and account.basic:
            raise ConfigError(f"{path}.basic and {path}.bearer are two ways to say the same: keep one")
        if account.basic and ":" not in account.basic:
            raise ConfigError(f'{path}.basic must be "user:password"')
        if bool(account.secret) != (account.signature != "none"):
            raise ConfigError(f"{path}.secret and {path}.signature belong together: set both, or none")
        if any(map(PLACE.search, account.headers.values())):
            raise ConfigError(f"{path}.headers are the same for all requests: {{$.…}} belongs into those of one verb")
        self.headers = {**_authorization(account), **account.headers}
        template.check_headers(f"{path}.headers", {**self.headers, account.signature_header: ""})
        coded = b64encode(account.basic.encode()).decode()
        known = (account.bearer, account.basic, account.basic and coded, account.secret, *account.secrets)
        self.secrets = tuple(text for text in (*known, *_hidden(account.headers)) if text)
        self._header, self._form, self._secret = account.signature_header, account.signature, account.secret

    def signed(self, body: bytes | None) -> dict[str, str]:
        """The header that signs this body. Without a body there is nothing to sign."""
        match self._form:
            case "segment" if body is not None:
                return {self._header: signature.sign(body, self._secret)}
            case "sha256" if body is not None:
                return {self._header: hmac.digest(self._secret.encode(), body, "sha256").hex()}
            case _:
                return {}


class Webhook:
    """One destination. It has the verbs that its configuration has a table for."""

    limits = Limits()

    def __init__(self, name: str, kinds: tuple[str, ...], credentials: Credentials, verbs: Mapping[str, Verb]) -> None:
        self.name, self.kinds = name, kinds
        self.bulk: Mapping[str, int] = {verb: found.at_once for verb, found in verbs.items() if found.at_once > 1}
        self._credentials = credentials
        for verb, found in verbs.items():
            setattr(self, verb, partial(self._send if verb == "send_event" else self._make, found))

    def _make(self, verb: Verb, changes: Sequence[Change]) -> Flow[None]:
        if not all(change.kind in self.kinds and change.id for change in changes):
            raise Dead("foreign_address")
        for start in range(0, len(changes), verb.at_once):
            group = changes[start : start + verb.at_once]
            documents = [_document(change) for change in group]
            shared = {key: documents[0][key] for key in verb.shared}
            yield from self._ask(verb.gives if group[0].value else verb.takes, shared, documents)

    def _send(self, verb: Verb, event: Event) -> Flow[None]:
        yield from self._ask(verb.gives, {"event": _json(event.message.value or b"{}")}, ())

    def _ask(self, recipe: Recipe, document: Document, each: Sequence[Document]) -> Flow[None]:
        body = recipe.body(document, each)
        kind = {} if body is None else {"Content-Type": "application/json"}
        signed = self._credentials.signed(body)
        request = Request(
            destination=self.name,
            method=recipe.method,
            url=recipe.url.fill(document),
            headers=_merged(kind, self._credentials.headers, recipe.headers.fill(document), signed),
            body=body,
            secrets=(*self._credentials.secrets, *recipe.secrets),
            repeatable=recipe.repeatable,
        )
        try:
            status = (yield request).status
        except Refused as refused:
            if not recipe.good(refused.status):
                raise
            return
        if not recipe.good(status):
            raise Dead(f"http_{status}")


def build(name: str, settings: dict[str, Any]) -> Connector:
    path = f"connectors.{name}"
    account = toml.struct(path, settings, Account)
    tables = {verb: getattr(account, verb) for verb in _VERBS if getattr(account, verb) is not None}
    if not tables:
        raise ConfigError(f"{path} can do nothing: it needs a table [{path}.VERB], of {', '.join(_VERBS)}")
    if not account.kinds and tables.keys() != {"send_event"}:
        raise ConfigError(f'{path}.kinds: by what does it know people, best first? ["email"], ["user_id", "email"] …')
    verbs = {verb: Verb(f"{path}.{verb}", verb, table) for verb, table in tables.items()}
    return Webhook(name, account.kinds, Credentials(path, account), verbs)


_TWO_WAYS: Final = ("set_membership", "set_consent")
_VERBS: Final = ("upsert_profile", *_TWO_WAYS, "delete_person", "send_event")
_CHANGE: Final = ("address", "kind", "id", "thing", "name", "value", "person")
_SHARED: Final = ("thing", "name")  # by all changes of one request
_EVENT: Final = ("event",)
_USUAL: Final[dict[str, Any]] = {"delete_person": {"missing": (404, 410)}, "send_event": {"repeatable": False}}
_AGAIN: Final = {401, 403, 408, 423, 425, 429}
_SHOWN: Final = {"accept", "content-type", "user-agent"}
_SHORT: Final = 8  # fewer characters are no secret, and to mask them would mask much else


def _asked(path: str, name: str, table: dict[str, Any]) -> tuple[int, dict[str, Asked]]:
    """How many at once, and by its place in the file each request: what makes it so first, what takes it away last."""
    if name in _TWO_WAYS and table.keys() & {"true", "false"}:
        halves = toml.struct(path, table, Halves)
        ways = {f"{path}.true": halves.true, f"{path}.false": halves.false}
        return halves.at_once, {place: toml.struct(place, way, Asked) for place, way in ways.items()}
    whole = toml.struct(path, {**_USUAL.get(name, {}), **table}, Whole)
    if name == "send_event" and whole.at_once > 1:
        raise ConfigError(f"{path}.at_once: events are sent one by one")
    return whole.at_once, {path: whole}


def _authorization(account: Account) -> dict[str, str]:
    if account.basic:
        return {"Authorization": f"Basic {b64encode(account.basic.encode()).decode()}"}
    return {"Authorization": f"Bearer {account.bearer}"} if account.bearer else {}


def _hidden(headers: Mapping[str, str]) -> Iterator[str]:
    for name, text in headers.items():
        if name.lower() not in _SHOWN and len(text) >= _SHORT and not PLACE.search(text):
            yield text


def _merged(*tables: Mapping[str, str]) -> dict[str, str]:
    found = {name.lower(): (name, text) for table in tables for name, text in table.items()}
    return dict(found.values())


def _document(change: Change) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(change, name) for name in _CHANGE}
    return {**found, "person": msgspec.to_builtins(change.person)}


def _json(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return loose_json.read(value)
