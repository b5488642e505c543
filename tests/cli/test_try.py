"""stream try: what a reactor or a sync would do, without doing it."""

import json
import time

import pytest

from tests.cli.conftest import CONFIG, NOW
from tests.embedded import message

SENDING = """
[processors.forward.copy]
url = "https://hooks.example.com/in?key=topsecret"
secret = "topsecret"
types = ["track"]
purpose = "marketing"
[processors.twice]
[purposes.marketing]
categories = ["Advertising"]
[connectors.crm]
connector = "webhook"
kinds = ["email"]
bearer = "topsecret"
set_membership = { url = "https://crm.example.com/lists/{$.name}", body = { email = "$.id", member = "$.value" } }
"""
TWICE = """
from stream import Event, Reactor
from stream.connector import Request

class Twice(Reactor):
    name = "twice"
    topics = ("track", "identify")

    def __init__(self, http):
        self._http = http

    async def handle(self, event: Event) -> None:
        for number in range(event.properties.get("sends", 0)):
            await self._http.run(self._post(number), about=event.subject, purpose="internal", address="email:a@b.c")
        if event.properties.get("bug"):
            raise KeyError("lost")

    def _post(self, number):
        yield Request(destination="crm", method="PUT", url=f"https://crm.example.com/{number}", body=b"x" * 600)

def build(app, settings):
    return [Twice(app.http)]
"""
YES = {"consent": {"categoryPreferences": {"Advertising": True}}}
SINCE = "2023-11-14T22:13:20Z"  # NOW


@pytest.fixture
def folder(folder):
    """With two reactors, and a sync of audiences."""
    config = CONFIG.replace("[processors.audiences]", '[processors.audiences]\ndestinations = ["crm"]')
    (folder / "stream.toml").write_text(config + SENDING)
    (folder / "processors" / "twice.py").write_text(TWICE)
    return folder


@pytest.fixture
async def caught_up(system):
    """The gate's projections have dealt with everything, by the clock of the command. Again, when called."""

    async def catch_up():

        async def write(tx):
            rows = [(name, time.time()) for name in ("profiles", "consent", "deletion")]
            await tx.many("INSERT OR REPLACE INTO caught_up (processor, time) VALUES (?, ?)", rows)

        await system.store.db.writing(write)

    await catch_up()
    return catch_up


async def everything(system):
    """How many rows there are of all that a live send would leave."""

    async def read(tx):
        tables = ("sends", "confirmed", "held", "lanes", "positions", "tallies", "marks", "rows")
        return [await tx.all(f"SELECT count(*) FROM {table}") for table in tables]

    return await system.store.db.reading(read)


async def tried(stream, *words):
    """The lines about deliveries or people, and the sums."""
    result = await stream("try", *words, "--since", SINCE, "--json")
    assert result.exit_code == 0, result.output
    *lines, last = [json.loads(line) for line in result.stdout.splitlines()]
    return lines, last["summary"]


async def track(system, user, number, context=YES, **properties):
    await system.send(
        message("track", NOW + number, userId=user, event="A", messageId=f"m{number}", context=context, **properties)
    )


async def test_it_shows_each_request_with_secrets_masked_and_sends_and_keeps_nothing(system, stream, caught_up):
    await track(system, "ada", 1)
    await track(system, "bob", 2, context={})
    before = await everything(system)
    result = await stream("try", "forward.copy", "--since", SINCE)
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert "POST https://hooks.example.com/in?key=***\n" in text and "topsecret" not in text
    assert "user:ada  would send\n" in text and '"messageId": "m1"' in text and '"messageId": "m2"' not in text
    assert [line.split() for line in text.splitlines()[-6:-3]] == [
        ["DELIVERIES", "OUTCOME"],
        ["1", "would", "send"],
        ["1", "skipped:no_consent"],
    ]
    assert "1 requests. Nothing was sent.\nAs of " in text
    assert await everything(system) == before
    assert [what for _, _, what, _ in await system.store.requests.audit()] == ["try forward.copy"]


async def test_what_was_sent_before_is_said_to_be_so(system, stream, caught_up):
    await track(system, "ada", 1, properties={"sends": 2})
    await track(system, "bob", 2, properties={"sends": 1})
    sends = system.store.sends

    async def write(tx):
        await sends.add(tx, [sends.hash("twice", "m1", "user:ada", 1)], NOW)
        await sends.add(tx, [sends.hash("twice", "m2", "user:bob", 1)], NOW)

    await system.store.db.writing(write)
    (ada, bob), sums = await tried(stream, "twice")
    assert (ada["outcome"], ada["sent_before"], len(ada["requests"])) == ("would send", 1, 2)
    assert (bob["outcome"], bob["sent_before"], len(bob["requests"])) == ("sent already", 1, 1)
    assert (sums["requests"], sums["sent_before"]) == (3, 2)
    text = (await stream("try", "twice", "--since", SINCE)).stdout
    assert "PUT https://crm.example.com/0  (sent before)\n" in text and "PUT https://crm.example.com/1\n" in text
    assert "3 requests, 2 of them sent before. Nothing was sent." in text


async def test_a_bug_is_shown_with_its_traceback_and_the_rest_goes_on(system, stream, caught_up):
    await track(system, "ada", 1, properties={"sends": 1, "bug": True})
    await track(system, "bob", 2, properties={"sends": 1})
    lines, sums = await tried(stream, "twice")
    assert [line["outcome"] for line in lines] == ["dead:bug:KeyError", "would send"]
    assert "KeyError: 'lost'" in lines[0]["trace"] and len(lines[0]["requests"]) == 1
    assert sums["outcomes"] == {"dead:bug:KeyError": 1, "would send": 1}
    assert "KeyError: 'lost'" in (await stream("try", "twice", "--since", SINCE)).stdout


async def test_it_takes_topics_in_order_between_two_times_and_stops_at_the_limit(system, stream, caught_up):
    for number, kind in enumerate(("track", "identify", "track", "identify")):
        system.around.clock.now = NOW + number
        await system.send(message(kind, NOW, userId="ada", messageId=f"m{number}", properties={"sends": 1}))
    system.around.clock.now = NOW
    lines, _ = await tried(stream, "twice")
    assert [line["time"] - NOW for line in lines] == [0, 1, 2, 3]
    lines, sums = await tried(stream, "twice", "--limit", 3)
    assert (len(lines), sums["tried"]) == (3, 3)
    lines, sums = await tried(stream, "twice", "--until", "2023-11-14T22:13:22Z")
    assert [line["time"] - NOW for line in lines] == [0, 1]
    assert (await stream("try", "twice", "--since", "1m")).stdout == "nothing of that lies in the log\n"


async def test_for_the_eye_bodies_and_deliveries_are_cut_short_and_counted(system, stream, caught_up):
    for number in range(23):
        await track(system, "ada", number, properties={"sends": 1})
    await track(system, "ada", 23)
    text = (await stream("try", "twice", "--since", SINCE)).stdout
    assert text.count("PUT https://crm.example.com/0") == 20
    assert f"    {'x' * 500} …\n" in text and "x" * 501 not in text
    assert "and so on, for 3 more: --json shows all" in text
    lines, sums = await tried(stream, "twice")
    assert len(lines) == 23 and {len(line["requests"][0]["body"]) for line in lines} == {600}
    assert sums["outcomes"] == {"would send": 23, "nothing to do": 1}


async def test_while_the_gate_lets_nothing_be_given_it_says_so(system, stream):
    await track(system, "ada", 1)
    _, sums = await tried(stream, "forward.copy")
    assert sums["outcomes"] == {"retry:gate:profiles_behind": 1}
    assert sums["requests"] == 0


async def member(system, user, number, **context):
    context = {"personas": {"computation_class": "audience", "computation_key": "vip"}, **context}
    traits = {"email": f"{user}@example.com", "vip": True}
    await system.send(message("identify", NOW + number, userId=user, traits=traits, context=context))
    await system.read()


async def test_a_sync_shows_what_everybody_who_changed_lacks_each_once_and_what_is_refused(system, stream, caught_up):
    await member(system, "ada", 1, **YES)
    await member(system, "ada", 2, **YES)
    await member(system, "bob", 3)
    await caught_up()
    before = await everything(system)
    lines, sums = await tried(stream, "audiences.crm")
    assert [(line["subject"], line["outcome"]) for line in lines] == [
        ("user:ada", "would send"),
        ("user:bob", "nothing to do"),
    ]
    [request] = lines[0]["requests"]
    assert (request["method"], request["url"]) == ("POST", "https://crm.example.com/lists/vip")
    assert json.loads(request["body"]) == {"email": "ada@example.com", "member": True}
    assert request["headers"]["Authorization"] == "***"
    assert lines[1]["refused"] == {"email:bob@example.com list:vip": "no_consent"}
    assert (sums["tried"], sums["refused"]) == (2, {"no_consent": 1})
    assert await everything(system) == before
    text = (await stream("try", "audiences.crm", "--since", SINCE)).stdout
    assert ["PEOPLE", "OUTCOME"] in [line.split() for line in text.splitlines()]
    assert ["1", "no_consent"] in [line.split() for line in text.splitlines()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["profiles", "--since", "1h"], "profiles remembers, and acts on nobody"),
        (
            ["nothing", "--since", "1h"],
            "there is no sync or reactor nothing; there are: audiences.crm, forward.copy, twice",
        ),
        (["twice"], "Missing option '--since'"),
        (["twice", "--since", "soon"], "'soon' is neither a time"),
    ],
)
async def test_what_cannot_be_tried_is_said(system, stream, words, said):
    result = await stream("try", *words)
    assert result.exit_code == 2
    assert said in result.stderr
