"""The documentation and the code name the same things: each list is compared as a whole, so in both directions."""

import json
import re
import shutil
from pathlib import Path

import click
import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import stream
from processors import audiences, consent, forward, profiles
from stream import config, events, headers, loading, topics
from stream.building import Setting, build
from stream.cli import main
from stream.core import envelope, filters
from stream.core.sheet import Changes, Loaded, Sheet
from stream.log.sqlite import SqliteLog
from stream.message import Message
from stream.person import Person
from stream.receiver import answer, application
from stream.sending import Http
from stream.telemetry import Metrics, registry
from tests.embedded import Embedded, message

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
OPERATING = (ROOT / "docs" / "operating.md").read_text()
PROCESSORS = (ROOT / "docs" / "processors.md").read_text()
MADE = ("processors/NAME.py", "processors/orders.py", "benchmarks/results.json")  # by users, by `make bench`
SECRETS = ("SEGMENT_SECRET", "CHAT_PATH", "BILLING_SECRET", "LETTERS_TOKEN", "ADS_SECRET", "ADS_KEY")  # in examples
PASSWORDS = ("KAFKA_PASSWORD", "POSTGRES_PASSWORD")
SHOWN = {
    "README.md": ["orders"],
    "docs/processors.md": ["orders", "signups", "crm"],
}
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()


def section(text, heading):
    """What stands below a heading, up to the next one of any level."""
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, heading
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text, language):
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def tables(text):
    """Tables of a text: their rows, without heads, as lists of cells."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows[2:])
            rows = []
    return found


def named(cell):
    """What is written as code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def first_column(text, heading, number=0):
    """The names in the first column of a section's table."""
    names = [name for row in tables(section(text, heading))[number] for name in named(row[0])]
    assert len(names) == len(set(names)), f"{heading} names something twice"
    return set(names)


def settings():
    """Every setting with its default, by its path in stream.toml."""
    sections = ("receiver", "probes", "log", "kafka", "spill", "store", "identity", "publish", "gate")
    kinds = {name: type(getattr(config.Config(), name)) for name in sections}
    kinds |= {"sources.NAME": config.SourceConfig, "purposes.NAME": config.PurposeConfig}
    kinds |= {"processors.consent": consent.Settings}
    return {
        f"{path}.{name}": value for path, kind in kinds.items() for name, value in msgspec.to_builtins(kind()).items()
    }


def commands(group=main, name="stream"):
    """Every command that does something by itself, by what is typed."""
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        typed = f"{name} {word}"
        if isinstance(command, click.Group):
            yield from commands(command, typed)
            if not (
                command.invoke_without_command and options(command) - {"--json"}
            ):  # or it is short for one of those
                continue
        yield typed, command


def options(command):
    return {o for p in command.params if isinstance(p, click.Option) for o in p.opts if o.startswith("--")}


def calls(text):
    """Every `stream …` of a text: in blocks of commands, and in running text."""
    lines = [line.split("#")[0].strip() for block in blocks(text, "sh") for line in block.splitlines()]
    typed = [line.removeprefix(".venv/bin/") for line in lines if line.removeprefix(".venv/bin/").startswith("stream ")]
    inline = re.findall(r"`((?:\.venv/bin/)?stream\s[^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return typed + [" ".join(one.split()).removeprefix(".venv/bin/") for one in inline]


def reasons(source):
    """`skipped:` and `held:` reasons that a processor's source can end an event with."""
    ends = re.findall(r'raise (Skip|Dead)\("(\w+)"\)', source)
    assert len(ends) == source.count("raise Skip") + source.count("raise Dead"), "a reason that is no constant"
    return {f"{'skipped' if end == 'Skip' else 'held'}:{reason}" for end, reason in ends}


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_every_setting_is_documented_with_its_default():
    rows = [(named(row[0])[0], named(row[1])[0]) for row in tables(section(OPERATING, "## Settings"))[0]]
    assert len(rows) == len(dict(rows))
    written = {name: msgspec.toml.decode(f"value = {default}")["value"] for name, default in rows}
    assert written == {name: list(v) if isinstance(v, tuple) else v for name, v in settings().items()}


@pytest.mark.parametrize(
    ("text", "heading", "kind"),
    [
        (OPERATING, "### Of each sync and reactor", config.LaneConfig),
        (PROCESSORS, "### profiles", profiles.Settings),
        (PROCESSORS, "### audiences", audiences.Settings),
        (PROCESSORS, "### consent", consent.Carried),
        (PROCESSORS, "### forward", forward.Settings),
    ],
)
def test_every_setting_of_a_sync_or_reactor_is_documented_with_its_default(text, heading, kind):
    [rows] = [t for t in tables(section(text, heading)) if set(named(t[0][0])) & set(kind.__struct_fields__)]
    written = {named(row[0])[0]: named(row[1]) for row in rows}
    actual = {field.name: field for field in msgspec.structs.fields(kind)}
    assert written.keys() == actual.keys()
    for name, default in written.items():
        assert (not default) == actual[name].required, name
        if default:
            [value] = msgspec.toml.decode(f"value = {default[0]}").values()
            made = actual[name].default_factory
            right = actual[name].default if made is msgspec.NODEFAULT else made()
            assert value == (list(right) if isinstance(right, tuple) else right), name


def test_every_limit_that_is_explained_is_a_setting_or_no_setting_at_all():
    kinds = {path.rpartition(".")[2] for path in settings()}
    assert first_column(OPERATING, "### Limits") <= kinds
    limits = {name for name in msgspec.to_builtins(config.ReceiverConfig()) if name.startswith("max_")}
    assert limits <= first_column(OPERATING, "### Limits")


def test_every_command_is_documented_with_its_options():
    [rows] = tables(section(OPERATING, "## Commands"))
    assert {named(row[0])[0]: set(named(row[1])) for row in rows} == {
        typed: options(command) - {"--json"} for typed, command in commands()
    }


def test_every_command_answers_in_json():
    assert [typed for typed, command in commands() if "--json" not in options(command)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_command_that_is_mentioned_exists(file):
    for call in calls(file.read_text()):
        context, command, words = click.Context(main), main, call.split()[1:]
        while words and isinstance(command, click.Group):
            if words[0].startswith("--"):  # an option of stream itself, and its value
                assert words.pop(0) in options(command), call
                words = words[1:]
            elif command.get_command(context, words[0]) is not None:
                command = command.get_command(context, words.pop(0))
            else:
                assert not re.match("[a-z]", words[0]) or command.invoke_without_command, f"there is no {call}"
                break
        assert {word for word in words if word.startswith("--")} <= options(command), call


def test_every_metric_is_documented_with_its_labels():
    [rows] = [t for t in tables(section(OPERATING, "## Metrics")) if len(t[0]) == 3]
    found = {}
    for metric in vars(Metrics(CollectorRegistry())).values():
        if not isinstance(metric, CollectorRegistry):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            found[name] = list(metric._labelnames)
    assert {named(row[0])[0]: named(row[1]) for row in rows} == found


def test_every_metric_is_of_something():
    code = "\n".join(file.read_text() for file in (ROOT / "stream").rglob("*.py") if file.name != "telemetry.py")
    used = set(re.findall(r"metrics\.(\w+)", code))
    assert {name for name, metric in vars(Metrics(CollectorRegistry())).items() if name != "registry"} <= used


def test_every_metric_of_the_process_is_documented():
    lines = generate_latest(registry()).decode().splitlines()
    told = {line.split()[0] for line in lines if not line.startswith("#")}
    assert first_column(OPERATING, "## Metrics", 1) == told


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_metric_topic_and_setting_that_is_mentioned_exists(file):
    text = file.read_text()
    metrics = first_column(OPERATING, "## Metrics")
    assert set(re.findall(r"\bstream_[a-z_]+", text)) <= metrics | {name.removesuffix("_total") for name in metrics}
    assert set(re.findall(r"`((?:segment|person)\.(?!toml|md|py)[a-z]+)`", text)) <= set(topics.ALL)
    dotted = re.findall(r"`((?:receiver|probes|log|kafka|spill|store|identity|publish|gate)\.[a-z_]+)`", text)
    assert {name for name in dotted if not name.endswith((".db", ".py"))} <= settings().keys()
    bracketed = re.findall(r"`\[(\w+)\] (\w+)", text)
    assert {f"{table}.{key}" for table, key in bracketed} <= settings().keys()


def test_every_topic_and_header_is_documented():
    found = [name for row in tables(section(OPERATING, "## Topics"))[0] for name in named(row[0])]
    assert sorted(found) == sorted(topics.ALL)
    constants = {value for name, value in vars(headers).items() if name.isupper() and isinstance(value, str)}
    assert first_column(OPERATING, "## Topics", 1) == constants


def test_every_reason_in_segment_invalid_is_documented():
    assert first_column(OPERATING, "### Invalid") == {*envelope.MALFORMED, *envelope.ODD}
    in_code = set(re.findall(r'(?:_Invalid|whole)\("(\w+)"\)', (ROOT / "stream/core/envelope.py").read_text()))
    assert in_code <= {*envelope.MALFORMED, *envelope.ODD}


def test_every_log_line_is_documented():
    code = "\n".join(file.read_text() for file in (ROOT / "stream").rglob("*.py"))
    assert first_column(OPERATING, "## Run it", 1) == set(
        re.findall(r'(?:logger\.(?:info|warning|error)|self\._alarm)\("(\w+)"', code)
    )


async def test_every_path_and_status_is_documented(tmp_path):
    async def ready():
        return None

    async with SqliteLog.open(tmp_path / "log.db", partitions=1, clock=lambda: 0.0) as log:
        metrics = Metrics(CollectorRegistry())
        receiver = application(config.Config(), log, clock=lambda: 0.0, ready=ready, metrics=metrics)
    paths = {route.resource.canonical for route in receiver.router.routes() if route.resource}
    text = section(OPERATING, "## What the receiver answers")
    assert first_column(OPERATING, "## What the receiver answers", 1) == paths
    answers = " ".join(row[1] for row in tables(text)[0])
    for status, code in answer._CODES.items():
        assert f"{status}" in answers, status
        assert f"`{code}` ({status})" in text, code


@pytest.mark.parametrize("name", [*config.Config().processors, "forward"])
def test_every_reason_of_a_built_in_processor_is_documented(name):
    source = (loading.built_in() / f"{name}.py").read_text()
    number = len(tables(section(PROCESSORS, f"### {name}"))) - 1
    assert first_column(PROCESSORS, f"### {name}", number) == reasons(source)


def test_every_reason_that_the_engine_ends_or_puts_off_a_delivery_with_is_documented():
    code = "\n".join(file.read_text() for file in (ROOT / "stream").rglob("*.py") if file.name != "errors.py")
    code = code.replace("{name}", "{profiles,consent,deletion}")
    found = {"Skip": {"deleted", *_GATE}, "Retry": {"behind"}, "Dead": {"http_", "bug:", "cannot:"}}
    for kind, reason in re.findall(r'\b(Retry|NotYet|Dead|Skip)\(f?"([^"]+)"', code):
        found["Retry" if kind == "NotYet" else kind] |= set(_spelled(reason))
    skipped, waiting, dead = tables(section(OPERATING, "### Fates"))
    found["Skip"] |= {reason.removeprefix("skipped:") for reason in re.findall(r'"(skipped:\w+)"', code)}
    found["Dead"] -= {"no_value", "bad_url", "bad_header"}  # of a connector: docs/connectors.md
    for rows, kind in ((skipped, "Skip"), (waiting, "Retry"), (dead, "Dead")):
        assert {name for row in rows for name in named(row[0])} == found[kind]


_GATE = set(re.findall(r'"(deleted|deleting|consent_held|shared)"', (ROOT / "stream/answering.py").read_text())) | set(
    re.findall(r'= "(\w+)", "(\w+)", "(\w+)"', (ROOT / "stream/purpose.py").read_text())[0]
)


def _spelled(reason):
    """The reasons that a formatted one stands for; what is not known before ends it."""
    head, brace, rest = reason.partition("{")
    names, _, tail = rest.partition("}")
    if not brace:
        return [reason]
    return [f"{head}{name}{tail}" for name in names.split(",")] if "," in names else [head]


def test_every_cap_is_documented():
    caps = {name: value for name, value in vars(profiles).items() if name.startswith("MAX_")}
    rows = tables(section(PROCESSORS, "### profiles"))[0]
    assert {named(row[0])[0]: int(row[1].split()[0].replace(",", "")) for row in rows} == caps


def test_every_field_of_an_event_is_documented():
    fields = {*public(events.Event), *events.Event.__annotations__}
    assert first_column(PROCESSORS, "## The event") == fields
    event = events.decode(Message("segment.track", b"ada", b'{"type":"track","userId":"ada"}'))
    assert all(hasattr(event, field) for field in fields)


def test_every_field_of_a_person_is_documented():
    assert first_column(PROCESSORS, "## The person") == {*Person.__struct_fields__, *public(Person)}


def test_what_an_author_is_given_is_documented():
    engine = {"usual_lanes", "found_lanes", "found_limits"}
    setting = Setting(config.Config(), {})
    assert first_column(PROCESSORS, "## Settings") == public(setting) - engine
    sends = {name.partition("(")[0] for name in first_column(PROCESSORS, "## A reactor", 1)}
    assert sends == public(Http)


def test_what_an_author_may_write_into_a_sync_or_a_reactor_is_documented():
    told = {name.partition("(")[0] for name in first_column(PROCESSORS, "## A sync")}
    assert told == public(stream.Sync) | set(stream.Sync.__annotations__)
    assert first_column(PROCESSORS, "## A sync", 1) == set(stream.Want.__struct_fields__)
    told = {name.partition("(")[0] for name in first_column(PROCESSORS, "## A reactor")}
    assert told == public(stream.Reactor) | set(stream.Reactor.__annotations__)


def test_every_operator_and_path_of_a_filter_is_documented():
    text = section(PROCESSORS, "### forward")
    [rows] = [rows for rows in tables(text) if named(rows[0][0]) == ["equals"]]
    assert {named(row[0])[0] for row in rows} == set(filters._TESTS)
    paths = set(named(text.partition("A path is one of")[2].partition(", with dots")[0]))
    assert paths == {*filters.FIELDS, *filters.OBJECTS}


def test_every_public_name_is_documented_and_there_are_few():
    told = {name for name in named(section(PROCESSORS, "## Public names")) if not name.startswith("stream")}
    assert told == set(stream.__all__)
    assert len(stream.__all__) <= 15


def test_what_an_author_may_write_into_a_projection_is_documented():
    own = {"name", "topics", "handle", "subjects", "refused", "link", "identify", "forget", "address"}
    engine = {"batch", "bound_to", "tables"}
    assert public(stream.Projection) | {"name", "batch"} == own | engine
    assert own - {"link", "identify", "forget", "address"} <= {
        name.partition("(")[0] for name in first_column(PROCESSORS, "## A projection")
    }


async def test_every_facet_is_documented(tmp_path):
    async with Embedded.open(tmp_path) as system:
        for number, line in enumerate((ROOT / "examples" / "events.jsonl").read_text().splitlines()):
            body = json.loads(line)
            await system.send(message(body.pop("type"), 900_000.0 + number, **body))
        await system.send(message("delete", 950_000.0, userId="grace"))
        await system.settle()
        changed = [json.loads(d.message.value or b"") for d in await system.topic(topics.PERSON_CHANGED)]
    facets = {facet for one in changed for facet in one["facets"]}
    [line] = [line for line in GLOSSARY.splitlines() if line.startswith("| **facet**")]
    assert facets == set(named(line))
    assert facets <= set(named(section(PROCESSORS, "### What `handle` may do")))


def test_the_words_of_the_glossary_are_in_order_and_each_is_there_once():
    words = re.findall(r"^\| \*\*(.+?)\*\*", GLOSSARY, re.MULTILINE)
    assert words == sorted(set(words)) and len(words) > 20


def anchors(file):
    """The names that a heading can be linked by, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_relative_link_leads_somewhere(file):
    for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (file.parent / path).resolve() if path else file
        assert target.exists() and ROOT in (target, *target.parents), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_that_is_mentioned_exists(file):
    for code in named(re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)):
        path, *more = code.split()
        if re.match(r"(stream|processors|tests|docs|examples|benchmarks)/", path) and path not in MADE:
            beside = [f"{path.rpartition('/')[0]}/{name}" for name in more]
            assert [one for one in (path, *beside) if not list(ROOT.glob(one.rstrip("/")))] == []


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in SHOWN.items() for name in names])
def test_the_example_is_shown_as_it_is(file, name):
    assert (ROOT / "examples" / f"{name}.py").read_text() in blocks((ROOT / file).read_text(), "python")


@pytest.mark.parametrize(("name", "lines"), [("signups", 15), ("crm", 20)])
def test_the_examples_are_short(name, lines):
    code = (ROOT / "examples" / f"{name}.py").read_text().splitlines()
    assert len([line for line in code if line and not line.startswith('"""')]) <= lines


@pytest.mark.parametrize("block", blocks(PROCESSORS, "python"))
def test_every_example_in_the_documentation_can_be_imported(block):
    names = {}
    exec(compile(block, "docs/processors.md", "exec"), names)
    app = Setting(config.Config(), {"crm": None, "chat": None})
    assert "build" not in names or isinstance(names["build"](app, {}), list)


def test_the_example_of_registers_does_what_is_said_of_it():
    [block] = [block for block in blocks(PROCESSORS, "python") if "class WishLists" in block]
    names = {}
    exec(compile(block, "docs/processors.md", "exec"), names)
    sheet = Sheet()
    [projection] = [one.bound_to(sheet) for one in names["build"](None, {})]
    sheet.load({("wishes", "user:ada"): Loaded(None, None)}, {})
    marks = []
    for time, event in (
        (3, "Added to"),
        (4, "Added to"),
        (1, "Removed from"),
        (5, "Removed from"),
        (5, "Removed from"),
    ):
        sent = message("track", time, userId="ada", event=f"Product {event} Wishlist", properties={"product_id": "p"})
        sheet.begin(float(time))
        projection.handle(events.decode(sent))
        sheet.keep()
        changes, sheet.changes = sheet.changes, Changes()
        marks.append((list(changes.marks), list(changes.renewed)))
    changed, renewed = ([("user:ada", "wishes")], []), ([], [("wishes", "user:ada", "wishes")])
    assert marks == [changed, renewed, ([], []), changed, ([], [])]
    row = sheet.get("wishes", names["Wishes"], "user:ada")
    assert (row.products["p"].value, row.without(4.0), row.without(5.0)) == (False, row, None)
    assert set(first_column(PROCESSORS, "### Values: `Register` and `settle`")) == {one.name for one in stream.Settled}


@pytest.mark.parametrize("block", [block for file in FILES for block in blocks(file.read_text(), "toml")])
def test_every_configuration_in_the_documentation_is_one(block, tmp_path, monkeypatch):
    for name in (*SECRETS, *PASSWORDS):
        monkeypatch.setenv(name, "secret-1234")
    (tmp_path / "processors").mkdir()
    for example in (ROOT / "examples").glob("*.py"):
        shutil.copy(example, tmp_path / "processors")
    asked = "".join(f"[processors.{name}]\n" for name in config.Config().processors if f"rs.{name}]" not in block)
    (tmp_path / "stream.toml").write_text(f"{asked}{block}")
    build(config.load(tmp_path / "stream.toml"))
