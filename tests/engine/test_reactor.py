"""A reactor: each send once per message, allowed at the moment it goes out, found by a deletion, and not too old."""

import json

import pytest
from msgspec import Struct

from stream.commits import Commits
from stream.config import LaneConfig
from stream.connector import Request
from stream.errors import Dead, NotYet, Refused, Retry, Skip, StreamError
from stream.http.performer import drive
from stream.places import LogConfig
from stream.processor import Reactor
from stream.reactor import Outside, Reacting
from stream.retention import Retention
from stream.sending import Http
from tests.embedded import Clock, message
from tests.engine.acting import acting_beside, surroundings

pytestmark = pytest.mark.usefixtures("each_store")

DAY = 86_400.0
HTTP = Http()


def post(text, destination="crm"):
    answer = yield Request(destination=destination, method="POST", url="https://crm.test", body=text.encode())
    return answer


class Wire:
    """A performer with nobody at the other end: what it is sent it keeps, and it answers what it is told to."""

    def __init__(self):
        self.sent = []
        self.answers = []

    async def perform(self, flow, allow, gives, slow=False):
        async def ask(request):
            await allow(request)
            answer = self.answers.pop(0) if self.answers else "answer"
            self.sent.append(request.body.decode())
            if isinstance(answer, Exception):
                raise answer
            return answer

        return await drive(flow, ask)


class Gate:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.refusal = None

    async def ask(self, question):
        self.asked.append(question)
        if self.refusal is not None:
            raise self.refusal


class Posts(Reactor):
    """Sends one request for each letter of the event's name."""

    name = "posts"
    topics = ("track",)
    purpose, gives, address = "marketing", True, ""

    def __init__(self):
        self.found = []

    async def handle(self, event):
        for letter in event.event or "":
            flow, about = post(letter), event.properties.get("about", event.subject)
            self.found.append(
                await HTTP.run(flow, about=about, purpose=self.purpose, gives=self.gives, address=self.address)
            )


class Site(Struct):
    one: object
    wire: Wire
    gate: Gate
    posts: Posts

    async def send(self, *messages):
        await self.one.log.append(messages)
        await self.one.step()

    async def fates(self):
        return (await self.one.store.positions.fates())["posts"]

    async def rows(self, sql):
        return await self.one.store.db.reading(lambda tx: tx.all(sql))


@pytest.fixture
async def site(tmp_path):
    wire, gate, posts = Wire(), Gate(), Posts()
    async with surroundings(tmp_path, Clock()) as around:
        outside = Outside(wire, gate, Commits(around.store))
        async with acting_beside(around, Reacting(posts, LaneConfig(), around, outside)) as one:
            yield Site(one, wire, gate, posts)


def track(name, received=1_000.0, **more):
    return message("track", received, userId="u1", event=name, **more)


async def test_each_call_is_a_send_of_its_own_and_gives_what_the_flow_returns(site):
    await site.send(track("abb"))
    assert (site.wire.sent, site.posts.found) == (["a", "b", "b"], ["answer"] * 3)
    assert await site.fates() == {"applied": 1}


async def test_what_segment_sends_twice_is_sent_once(site):
    await site.send(track("ab", messageId="m1"))
    await site.send(track("ab", messageId="m1"), track("a", messageId="m2"))
    assert site.wire.sent == ["a", "b", "a"]
    assert site.posts.found[2:4] == [None, None]


async def test_what_was_sent_before_is_not_refused_when_it_comes_again(site):
    await site.send(track("a", messageId="m1"))
    site.gate.refusal = Skip("opted_out")
    await site.send(track("a", messageId="m1"))
    assert (site.wire.sent, await site.fates()) == (["a"], {"applied": 2})


async def test_what_failed_at_a_later_send_does_not_repeat_the_earlier_ones(site):
    site.wire.answers = ["answer", Retry("http_503")]
    await site.send(track("ab"))
    await site.one.pass_time(1.0)
    assert site.wire.sent == ["a", "b", "b"]
    assert await site.fates() == {"applied": 1}


async def test_what_a_destination_refused_is_not_taken_as_sent(site):
    site.wire.answers = [Refused(422)]
    await site.send(track("a"))
    (held,) = await site.one.store.held.page()
    assert (held.reason, held.subject, held.lane) == ("http_422", "user:u1", "u1")
    assert await site.one.runner.retry(held) == "applied"
    assert site.wire.sent == ["a", "a"]


async def test_the_gate_is_asked_with_all_it_needs_right_before_each_request(site):
    preferences = {"consent": {"categoryPreferences": {"ads": True}}}
    await site.send(track("a", 1_000.0, timestamp="1970-01-01T00:10:00Z", context=preferences))
    (question,) = site.gate.asked
    assert (question.destination, question.subject, question.purpose) == ("crm", "user:u1", "marketing")
    assert (question.time, question.consent) == (600.0, {"ads": True})


async def test_the_consent_in_an_event_speaks_for_nobody_else(site):
    preferences = {"consent": {"categoryPreferences": {"ads": True}}}
    await site.send(track("a", 1_000.0, context=preferences, properties={"about": "user:other"}))
    (question,) = site.gate.asked
    assert (question.subject, question.consent) == ("user:other", None)


async def test_what_the_gate_refuses_is_skipped_and_not_sent(site):
    site.gate.refusal = Skip("opted_out")
    await site.send(track("ab"))
    assert (site.wire.sent, await site.fates()) == ([], {"skipped:opted_out": 1})
    assert await site.rows("SELECT * FROM sends") == []


async def test_while_the_gate_answers_nobody_it_waits_and_then_is_sent(site):
    site.gate.refusal = NotYet("gate:consent_behind", after=1.0)
    await site.send(track("a"))
    for _ in range(5):
        await site.one.pass_time(2.0)
    assert site.wire.sent == []
    site.gate.refusal = None
    await site.one.pass_time(2.0)
    assert site.wire.sent == ["a"]


async def test_what_only_takes_away_asks_nobody(site):
    site.posts.gives = False
    site.gate.refusal = Skip("opted_out")
    await site.send(track("a"))
    assert (site.wire.sent, site.gate.asked) == (["a"], [])


async def test_an_address_is_noted_before_it_is_told_and_once(site):
    site.posts.address = "email:a@b.c"
    site.wire.answers = [Dead("gone")]
    noted = "SELECT destination, address, verb, processor, subject, value FROM confirmed"
    await site.send(track("a", messageId="m1"))
    assert await site.rows(noted) == [("crm", "email:a@b.c", "send_event", "posts", "user:u1", None)]
    assert len(site.gate.asked) == 2  # noting it took a while
    await site.send(track("b", messageId="m2"), message("track", 2_000.0, userId="u2", event="c"))
    assert [subject for *_, subject, _ in await site.rows(noted)] == ["user:u1", "user:u2"]


async def test_a_refused_address_is_not_noted(site):
    site.posts.address = "email:a@b.c"
    site.gate.refusal = Skip("opted_out")
    await site.send(track("a"))
    assert await site.rows("SELECT * FROM confirmed") == []


async def test_what_was_old_when_it_was_received_is_not_sent_however_late_it_is_dealt_with(site):
    old = track("a", 1_000.0 + DAY, timestamp="1970-01-01T00:10:00Z", messageId="old")
    await site.send(old, track("b", messageId="young"))
    assert (site.wire.sent, await site.fates()) == (["b"], {"applied": 1, "skipped:too_old": 1})


async def test_a_dry_run_remembers_nothing(tmp_path):
    wire, gate, posts, made_before = Wire(), Gate(), Posts(), []
    posts.address = "email:a@b.c"
    async with surroundings(tmp_path, Clock()) as around:
        dry = Reacting(posts, LaneConfig(), around, Outside(wire, gate, Commits(around.store), made_before.append))
        await around.log.append([track("a")])
        (delivery,) = [delivery async for delivery in around.log.read("segment.track")]
        for _ in range(2):
            assert await dry.act([delivery], False)
        assert (
            await around.store.db.reading(
                lambda tx: tx.all("SELECT hash FROM sends UNION SELECT address FROM confirmed")
            )
            == []
        )
    assert (wire.sent, made_before) == (["a", "a"], [False, False])


async def test_the_breaker_hears_only_of_events_that_sent_something(site):
    async def act(name):
        await site.one.log.append([track(name, messageId=name or "none")])
        *_, delivery = [delivery async for delivery in site.one.log.read("segment.track")]
        return await site.one.actor.act([delivery], False)

    assert (await act(""), await act("a"), await act("a")) == (False, True, False)


async def test_what_a_reader_cannot_read_is_held(site):
    broken = message("track", 1.0, userId="u1")
    await site.send(type(broken)(broken.topic, broken.key, b"\xff", broken.headers))
    for _ in range(3):
        await site.one.pass_time(1.0)
    (held,) = await site.one.store.held.page()
    assert (held.reason, held.subject) == ("bug:UnicodeDecodeError", "message:u1")


async def test_what_was_sent_is_forgotten_after_thirty_days(site):
    await site.send(track("a"))
    retention = Retention(site.one.log, site.one.store, [], LogConfig())
    now = site.one.around.clock()
    await retention.step(now + 29 * DAY)
    assert len(await site.rows("SELECT hash FROM sends")) == 1
    await retention.step(now + 31 * DAY)
    assert await site.rows("SELECT hash FROM sends") == []


async def test_what_is_kept_of_a_send_names_nobody(site):
    await site.send(track("a", messageId="m1"))
    assert not {"m1", "u1", "posts"} & set(json.dumps(await site.rows("SELECT * FROM sends")).split('"'))


async def test_sending_outside_of_handle_is_an_error():
    with pytest.raises(StreamError, match="outside handle"):
        await HTTP.run(post("a"), about="user:1", purpose="internal")
