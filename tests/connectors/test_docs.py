"""docs/connectors.md says of the webhook what is so."""

import re
from pathlib import Path

import msgspec
import pytest

from connectors import webhook
from stream import config
from stream.building import build
from stream.connector import Limits, can
from stream.person import Person
from tests.contracts.connectors import THINGS, VERBS, driven, event
from tests.test_docs import blocks, first_column, named, section, tables

FILE = Path(__file__).parent.parent.parent / "docs" / "connectors.md"
DOCS = FILE.read_text()
EXAMPLES = blocks(DOCS, "toml")


@pytest.fixture(params=range(len(EXAMPLES)))
def built(request, tmp_path, monkeypatch):
    for name in ("LETTERS_TOKEN", "ADS_SECRET", "ADS_KEY", "CHAT_PATH"):
        monkeypatch.setenv(name, f"{name}-1234")
    (tmp_path / "stream.toml").write_text(EXAMPLES[request.param])
    return build(config.load(tmp_path / "stream.toml"))


def test_the_examples_are_as_many_as_are_announced():
    assert len(EXAMPLES) == 2


def test_every_example_is_a_configuration_whose_verbs_can_be_asked(built):
    assert built.connectors
    person = Person(key="user:1", subjects=("user:1",), traits={"name": "Ada"})
    for connector in built.connectors.values():
        for verb in (verb for verb in VERBS if can(connector, verb)):
            value = {"upsert_profile": {"plan": "pro"}, "delete_person": None}.get(verb, True)
            kind = next(iter(connector.kinds), "email")
            change = webhook.Change(f"{kind}:ada@example.com", THINGS.get(verb, "person"), value, person)
            assert driven(getattr(connector, verb)(event() if verb == "send_event" else [change]))


def test_the_first_example_asks_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LETTERS_TOKEN", "token")
    (tmp_path / "stream.toml").write_text(EXAMPLES[0])
    letters = build(config.load(tmp_path / "stream.toml")).connectors["letters"]
    person = Person(key="user:1", subjects=("user:1",), traits={"name": "Ada"})
    [request] = driven(letters.upsert_profile([webhook.Change("email:a@b.c", "profile", {"plan": "pro"}, person)]))
    assert msgspec.json.decode(request.body) == {"email": "a@b.c", "name": "Ada", "fields": {"plan": "pro"}}
    assert (request.method, request.url) == ("PUT", "https://api.letters.example/v2/people/a%40b.c")
    assert request.headers["Authorization"] == "Bearer token"


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("## What every destination may set", Limits),
        ("### The table of a destination", webhook.Account),
        ("### The table of a verb", webhook.Whole),
    ],
)
def test_every_setting_is_documented_with_its_default(heading, kind):
    fields = {field.name: field.default for field in msgspec.structs.fields(kind)}
    factories = {field.name: field.default_factory for field in msgspec.structs.fields(kind)}
    assert first_column(DOCS, heading) == fields.keys()
    for names, default, _ in tables(section(DOCS, heading))[0]:
        for name in named(names):
            written = msgspec.toml.decode(f"value = {named(default)[0]}")["value"] if default else None
            actual = factories[name]() if factories[name] is not msgspec.NODEFAULT else fields[name]
            actual = list(actual) if isinstance(actual, tuple) else actual
            unset = (msgspec.NODEFAULT, msgspec.UNSET, None)
            assert written == (None if actual in unset or (name == "kinds") else actual), name


def test_every_path_and_every_reason_is_documented():
    text = section(DOCS, "### Filling in")
    assert first_column(DOCS, "### Filling in") == {f"$.{name}" for name in (*webhook._CHANGE, *webhook._EVENT)}
    source = "".join(Path(file).read_text() for file in (webhook.__file__, webhook.template.__file__))
    assert {name for row in tables(text)[1] for name in named(row[0])} == set(re.findall(r'Dead\("(\w+)"\)', source))


def test_every_verb_is_documented():
    assert first_column(f"\n{DOCS}", "# Connectors") == set(VERBS) == set(webhook._VERBS)
